"""Characters and JSON from outside: what cannot be stored is refused with its place, or repaired and counted.

Lone surrogates and NUL cannot be stored as UTF-8 or in PostgreSQL; JSON of RFC 8259 leaves open what equal keys, NaN
and very deep or large values mean. Nothing here knows a format: callers say which file and line a text is from.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CorpusError, InputError

MAX_JSON = 16 * 2**20  # characters of one JSON text: a row, an answer
MAX_DEPTH = 64  # objects and lists within one another
_MAX_DIGITS = 308  # of a whole number: with more it is no float either
_MAX_SHOWN = 60

_BROKEN = re.compile("[\ud800-\udfff\x00]")
_ESCAPED = re.compile(r"\\u(?:0000|[dD][89abAB])")  # how a broken character may stand in JSON
_BETWEEN_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|$)|[^"\[\]{}]++', re.DOTALL)
_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # spaces, controls, characters of no width
# Letters by category that nobody can see: grapheme joiner, Hangul and Khmer fillers, the Braille blank.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A text that can be stored."""

    text: str
    n: int  # characters repaired


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairedJson:
    """JSON data whose texts can be stored."""

    value: Any
    n: int  # characters repaired


def repair_text(text: str) -> Repaired:
    """Join surrogates that make a character, put U+FFFD for lone ones and NUL, drop a byte order mark in front."""
    n_marks = len(text) - len(text := text.removeprefix("\ufeff"))
    if _BROKEN.search(text) is None:
        return Repaired(text=text, n=n_marks)
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    whole, n_lost = _BROKEN.subn("\ufffd", joined)
    return Repaired(text=whole, n=n_marks + len(text) - len(joined) + n_lost)


def repair_json(value: Any) -> RepairedJson:
    """`repair_text` for every text and key of JSON data."""
    n = 0

    def mend(item: Any) -> Any:
        nonlocal n
        if isinstance(item, str):
            repaired = repair_text(item)
            n += repaired.n
            return repaired.text
        if isinstance(item, Mapping):
            return {mend(key): mend(inner) for key, inner in item.items()}
        return [mend(inner) for inner in item] if isinstance(item, list) else item

    return RepairedJson(value=mend(value), n=n)


def is_absent(text: str | None) -> bool:
    """Whether there is nothing to read: None, or only spaces, controls and characters of no width."""
    return text is None or all(
        character in _BLANK or unicodedata.category(character) in _UNSEEN or "\ufe00" <= character <= "\ufe0f"
        for character in text
    )


def read_id(value: object, key: str) -> str | None:
    """An id as text: a whole number is its digits; null and a text without anything to read are absence.

    Raises InputError: it is a float, a boolean, a list or an object, or cannot be stored.
    """
    if value is None or isinstance(value, str):
        if is_absent(value):
            return None
        return require_sound(str(value), key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"`{key}` must be a text or a whole number, got {shown(value)}")
    return str(value)


def require_id(row: Mapping[str, Any], key: str) -> str:
    """`read_id` of a key that every row must have. Raises InputError: it is absent, or no id."""
    if (given := read_id(row.get(key), key)) is None:
        raise InputError(f"`{key}` must be a text or a whole number, got {shown(row.get(key))}")
    return given


def unused(default: str, given: Collection[str]) -> str:
    """The default id, or the first of its kind that nobody gave."""
    while default in given:
        default += "+"
    return default


def require_sound(text: str, key: str) -> str:
    """The text, where all of it can be stored. Raises InputError: it holds a lone surrogate or NUL."""
    if (broken := _BROKEN.search(text)) is not None:
        what = "NUL" if broken[0] == "\0" else f"the lone surrogate U+{ord(broken[0]):04X}"
        raise InputError(f"`{key}` must be text that UTF-8 can hold, got {what} at character {broken.start() + 1}")
    return text


def decode_text(data: bytes, *, file: Path | str, line: int | None = None) -> str:
    """UTF-8 without its byte order mark.

    Raises CorpusError: the bytes are of another encoding; it names the line, which is `line` where the data is one
    line.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError(file, "text must be UTF-8, got UTF-16; save it as UTF-8", line=line)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = line or data.count(b"\n", 0, err.start) + 1
        raise CorpusError(
            file, f"text must be UTF-8, got byte 0x{data[err.start]:02X}; save it as UTF-8", line=line
        ) from err


def parse_json(
    text: str,
    *,
    file: Path | str,
    line: int | None = None,
    on_repair: Callable[[int], None] | None = None,
    max_chars: int = MAX_JSON,
    is_nan_null: bool = False,
) -> Any:
    """JSON data, bounded in size, depth and numbers, each key of an object once.

    Args:
        line: of the file, where the text is one line of it; else the error names the line within the text.
        on_repair: told how many characters were repaired; without it, texts that cannot be stored are refused.
        is_nan_null: read NaN and infinities, which Python's own JSON writes, as null: missing.

    Raises:
        CorpusError: it is no JSON, or breaks a bound.
    """
    if len(text) > max_chars:
        raise CorpusError(file, f"JSON must have at most {max_chars:,} characters, got {len(text):,}", line=line)
    if _is_deep(text):
        raise CorpusError(file, f"JSON must nest at most {MAX_DEPTH} lists and objects, got more", line=line)
    try:
        value = (_NAN_DECODER if is_nan_null else _DECODER).decode(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as err:
        raise CorpusError(file, f"must be JSON, it is not: {err.msg}", line=line or err.lineno) from err
    except InputError as err:
        raise CorpusError(file, str(err), line=line) from err
    if _ESCAPED.search(text) is None and _BROKEN.search(text) is None:
        return value
    if on_repair is not None:
        repaired = repair_json(value)
        on_repair(repaired.n)
        return repaired.value
    try:
        _require_all_sound(value)
    except InputError as err:
        raise CorpusError(file, str(err), line=line) from err
    return value


def shown(value: object) -> str:
    """A value for a message: the beginning of its JSON, however large or deep it is."""
    text = ""
    pieces = json.JSONEncoder(ensure_ascii=False, default=lambda item: type(item).__name__).iterencode(value)
    while len(text) <= _MAX_SHOWN and (piece := next(pieces, None)) is not None:
        text += piece[: _MAX_SHOWN + 1]
    return repair_text(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…").text


def shown_keys(row: Mapping[str, Any], most: int = 8) -> str:
    """The keys of an object, for a message."""
    listed = ", ".join(f"`{repair_text(key[:40]).text}`" for key in list(row)[:most])
    return (listed + (f" and {len(row) - most} more" if len(row) > most else "")) or "an empty object"


def _require_all_sound(value: Any, key: str = "text") -> None:
    if isinstance(value, str):
        require_sound(value, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            _require_all_sound(item, require_sound(name, "a key"))
    elif isinstance(value, list):
        for item in value:
            _require_all_sound(item, key)


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    marks = _BETWEEN_MARKS.sub("", text)
    for _ in range(MAX_DEPTH):  # each round takes the innermost level away
        marks = marks.replace("[]", "").replace("{}", "")
    # What does not pair is no JSON: the decoder tells, as long as it can follow it down.
    return "[]" in marks or "{}" in marks or len(marks) > MAX_DEPTH


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InputError(f"a key must stand once in an object, got {shown(twice)} again")
    return found


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InputError(f"a number must be finite, got {shown(digits)}")
    return value


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise InputError(f"a whole number must have at most {_MAX_DIGITS} digits, got {len(digits):,}")
    return int(digits)


def _constant(name: str) -> float:
    raise InputError(f"a number must be finite, got {name}; write null for missing")


_DECODER, _NAN_DECODER = (
    json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=constant)
    for constant in (_constant, lambda name: None)
)
