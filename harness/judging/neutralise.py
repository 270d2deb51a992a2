"""Graded text cannot talk to the judge: what is graded is made unable to look like anything but text.

Every prompt of a judge delimits graded text with angle-bracket tags (`<reply>…</reply>`), and chat templates mark turns
with tokens such as `<|im_start|>`, `</s>` or `[INST]`. So graded text may hold no angle brackets, no bracketed
upper-case marks, no line breaks, no characters that are invisible or reorder their neighbours, and no more marks on one
letter than Unicode's stream-safe format allows (sorting them takes the square of their number). Words stay as they are:
an instruction inside a reply is still there to be read, as part of the reply.

What changes is only what the judge sees; stored generations are never altered.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Look-alikes that neither a tokenizer's special token nor one of our delimiters is made of.
_BRACKETS = str.maketrans({"<": "‹", ">": "›", "＜": "‹", "＞": "›", "﹤": "‹", "﹥": "›"})
_BRACKETED_MARK = re.compile(r"\[(\s*/?\s*[a-z]?[A-Z][A-Z_ ]*)\]")  # [INST], [/INST], [SYSTEM_PROMPT], [gMASK]
_NOT_WORD = re.compile(r"[^\w\s]")
_SPACE = re.compile(r"\s+")
MAX_MARKS = 30  # combining marks in a row, as in Unicode Standard Annex 15, "Stream-Safe Text Format"
_INVISIBLE = {"Cc", "Cf", "Cs"}  # controls; formats (bidi, zero-width, tags); surrogates


def neutralise(text: str, *, tokens: Iterable[str] = ()) -> str:
    """One line of plain text that keeps every word and can forge no delimiter, turn or control.

    `tokens` are further marks that must not survive, such as the special tokens of the model that will read the text;
    each loses its punctuation. Applying the function twice changes nothing more.
    """
    marks = sorted({t for t in tokens if _NOT_WORD.search(t) and len(t) > 1}, key=lambda t: (-len(t), t))
    while True:  # to a fixed point: taking one mark out can bring the halves of another together
        plain = _once(text, marks)
        if plain == text:
            return plain
        text = plain


def _once(text: str, marks: list[str]) -> str:
    # Invisible characters go first (they may split a mark), then NFC, because some tokenizers apply it and what is
    # checked here must be what they see.
    if not (text.isascii() and text.isprintable()):  # else there is nothing invisible, and NFC changes nothing
        text = unicodedata.normalize("NFC", _few_marks("".join(_visible(character) for character in text)))
    text = text.translate(_BRACKETS)
    text = _BRACKETED_MARK.sub(r"(\1)", text)
    for mark in marks:
        text = text.replace(mark, _NOT_WORD.sub("", mark))
    return _SPACE.sub(" ", text).strip()


def _few_marks(text: str) -> str:
    """The text without the combining marks that follow the thirtieth on the same letter."""
    kept, n_marks = [], 0
    for character in text:
        n_marks = n_marks + 1 if unicodedata.combining(character) else 0
        if n_marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in _INVISIBLE else character
