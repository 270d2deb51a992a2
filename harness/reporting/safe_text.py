"""Text from models and corpora made safe to set: what cannot be printed is shown, never dropped, never obeyed.

Escaping for HTML is the template's (autoescape); here only characters change that no document may hold.
"""

from __future__ import annotations

import re
import unicodedata

_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    """Show control characters as pictures (␀, ␛) and lone surrogates as U+FFFD; line ends become newlines."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(_shown(c) for c in unified)


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits and hyphens, for an anchor; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def in_sentence(label: str) -> str:
    """A label as it stands inside a sentence: "Held-out loss" → "held-out loss", "PMI" stays."""
    return label if label[1:2].isupper() or not label else label[0].lower() + label[1:]


def _shown(c: str) -> str:
    code = ord(c)
    if c in _KEPT:
        return c
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or (code & 0xFFFE) == 0xFFFE:
        return "\ufffd"
    return c
