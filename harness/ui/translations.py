"""The words of the rating page in the rater's language: English stands in the code, any other in a table of its own.

A table is `assets/words/LANGUAGE.json`, English to that language; what it lacks stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "assets" / "words"
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="en")


@cache
def words_of(language: str) -> Mapping[str, str]:
    """English to a language; empty where there is no table of it."""
    file = _FOLDER / f"{language}.json"
    is_there = re.fullmatch(r"[a-z]{2,3}", language) is not None and file.is_file()
    table: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if is_there else {}
    return table


def speak(*wanted: str) -> None:
    """Have `t` answer in the first of these languages that there are words of."""
    _SPOKEN.set(next((language for language in wanted if language == "en" or words_of(language)), "en"))


def spoken_language() -> str:
    """The language that `t` answers in."""
    return _SPOKEN.get()


def t(text: str, **told: Any) -> str:
    """English words in the language that is spoken, with what is told filled in."""
    said = words_of(_SPOKEN.get()).get(text, text)
    return said.format(**told) if told else said
