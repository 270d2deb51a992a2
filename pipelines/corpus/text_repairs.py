"""From the bytes of a corpus file to clean text, counting every repair."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import CorpusError
from pipelines.corpus.corpus import Tally

# windows-1252 leaves five bytes undefined; each is read as latin-1 reads it.
_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"
_WINDOWS_1252 = "".join(
    bytes([byte]).decode("latin-1" if byte in _UNDEFINED else "windows-1252") for byte in range(256)
)

_TAG = re.compile(r"</?[ubi]>", re.IGNORECASE)
_HYPHENATED = re.compile(r"(?<=\w)\u00ad+(?=\w)")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\ufeff]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file."""

    number: int  # from 1
    text: str  # without its line end


def lines_of(data: bytes, *, file: str, tally: Tally) -> Iterator[Line]:
    """Decode a file line by line: UTF-8 if all of it is, else windows-1252 with latin-1 for undefined bytes.

    Lines end at LF or CRLF only: `str.splitlines` would also cut at U+0085 and U+2028, which stand inside texts.

    Raises CorpusError: for UTF-16, which looks like neither.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError(file, "text must be UTF-8 or windows-1252, got UTF-16; save it as UTF-8")
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
        tally.repair("byte order marks removed")
    is_utf8 = _is_utf8(data)
    if not is_utf8:
        tally.see("files read as windows-1252")
        tally.repair("undefined bytes read as latin-1", sum(data.count(byte) for byte in _UNDEFINED))
    tally.repair("line ends CRLF read as LF", data.count(b"\r\n"))
    for number, raw in enumerate(data.split(b"\n"), 1):
        raw = raw.removesuffix(b"\r")
        yield Line(number, raw.decode() if is_utf8 else codecs.charmap_decode(raw, "strict", _WINDOWS_1252)[0])


def clean_line(text: str, tally: Tally) -> str:
    """A spoken line without markup, control characters or doubled spaces; U+FFFD stays and is counted."""
    if "\ufffd" in text:
        tally.see("characters lost before reading (U+FFFD)", text.count("\ufffd"))
    if "<" in text:
        text, n_tags = _TAG.subn("", text)
        tally.repair("lines with <u>, <b> or <i> tags", 1 if n_tags else 0)
    if "\u00ad" in text:
        tally.repair("lines with soft hyphens")
        # Inside a word it marks a place to break; elsewhere scripts used the byte for a dash.
        text = _HYPHENATED.sub("", text).replace("\u00ad", "-")
    if not text.isprintable():
        text, n_controls = _CONTROL.subn("", text)
        tally.repair("lines with control characters", 1 if n_controls else 0)
    outer = text.strip()
    text = " ".join(outer.split())
    if text != outer:
        tally.repair("lines with doubled or odd spaces")
    if not text:
        tally.see("lines with empty text")
    return text


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
