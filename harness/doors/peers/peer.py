"""What a file of another evaluation tool holds, in our terms: who was asked what, what was said, how it was scored.

Readers are strict in what they need and count what they do not read: an unknown key is set aside, never refused.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.doors.files import read_rows
from harness.doors.text import decode_text, parse_json, shown
from harness.errors import CorpusError, InputError
from harness.types import FinishReason, Message

MAX_FILE = 512 << 20  # bytes of one JSON file; the largest seen has a hundredth of it
_WORDS = {
    "C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0,  # inspect_ai: correct, incorrect, partial, no answer
    "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "pass": 1.0, "fail": 0.0, "correct": 1.0, "incorrect": 0.0,
}  # fmt: skip
_ROLES = ("system", "user", "assistant")
_LONGEST_FACT = 200  # characters of a value that a row is described by

Asked = str | tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """One question, one draw: what was asked, said and scored."""

    id: str | None  # the tool's own, the same in every run on these data; None where it has none
    question: str  # tells one question from another, whatever the prompt around it is
    prompt: Asked  # what was asked, for a reader
    scores: Mapping[str, float | None]  # measure → value; None is missing
    draw: int = 0
    reply: str | None = None  # None: the file holds none
    finish: FinishReason = "unknown"
    reference: str | None = None
    task: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)  # short values beside it, any of which can be the cluster

    def __post_init__(self) -> None:
        for name in ("id", "question", "reply", "reference", "task"):
            if not isinstance(value := getattr(self, name), str | None):
                raise TypeError(f"{name} is {shown(value)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that the tool itself reports, with its own error bar, if it has any."""

    measure: str
    value: float
    error: float | None  # one standard error


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """One model (or prompt, or provider) of a file."""

    name: str
    file: Path
    rows: tuple[PeerRow, ...]
    version: str = ""  # of the tool and the task, as far as the file tells
    figures: tuple[Figure, ...] = ()
    lower: frozenset[str] = frozenset()  # measures of which less is better
    aside: Mapping[str, int] = field(default_factory=dict)  # what was not read → in how many rows
    notes: tuple[str, ...] = ()  # sentences on the file
    is_reference: bool = False  # the side that others were judged against, in the same file

    @property
    def measures(self) -> tuple[str, ...]:
        """Every measure that a row has a value of, in order."""
        return tuple(dict.fromkeys(k for row in self.rows for k, value in row.scores.items() if value is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A tool whose files are read."""

    tool: str
    read: Callable[[Path], list[PeerRun]]
    joins: Callable[[Sequence[PeerRun]], list[PeerRun]] = list  # what several files are of one run


@dataclass(slots=True)
class Aside:
    """What is not read, counted by name."""

    counts: Counter[str] = field(default_factory=Counter)

    def keys(self, row: Mapping[str, Any], known: Iterable[str]) -> None:
        """Count the keys of a row that no reader looks at."""
        self.counts.update(f"`{key[:40]}`" for key in row.keys() - set(known))

    def score(self, scores: dict[str, float | None], name: str, value: object) -> None:
        """Take a value as a score, or count it where it is none."""
        try:
            scores[measure_name(name)] = as_score(value)
        except InputError:
            self.counts[f"`{name[:40]}`, which is no number"] += 1


def measure_name(name: str) -> str:
    """A metric's name as an experiment can name a measure."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip("_.+-")[:80] or "score"


def as_score(value: object) -> float | None:
    """A number, a truth value, a C or I; None is missing. Raises InputError: it is nothing of the kind."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        known = _WORDS.get(text, _WORDS.get(text.lower()) if len(text) > 1 else None)
        if known is not None:
            return known
        try:
            return as_score(float(text))
        except ValueError:
            pass
    raise InputError(f"a score must be a number, a truth value, C or I, got {shown(value)}")


def read_json_file(path: Path, *, of: str) -> Any:
    """The data of one JSON file; NaN is null.

    Raises:
        InputError: there is no such file. CorpusError: it is empty, cut off or no JSON.
    """
    if not path.is_file():
        raise InputError(f"`{path}` must be an existing file of {of}; there is none")
    if path.stat().st_size > MAX_FILE:
        raise CorpusError(path, f"must have at most {MAX_FILE >> 20} MB, got {path.stat().st_size >> 20:,} MB")
    return parse_peer_json(path.read_bytes(), file=path, of=of)


def parse_peer_json(data: bytes, *, file: Path, of: str) -> Any:
    """JSON of another tool: NaN is null, characters that cannot be stored become U+FFFD."""
    if not data.strip():
        raise CorpusError(file, f"must hold {of}; it is empty")
    text = decode_text(data, file=file)
    try:
        return parse_json(text, file=file, on_repair=lambda n: None, max_chars=MAX_FILE, is_nan_null=True)
    except CorpusError as err:
        is_cut = text.rstrip()[-1] not in "}]"
        raise (CorpusError(file, f"must hold whole {of}; it ends in the middle") if is_cut else err) from err


def read_json_rows(path: Path, *, of: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file of another tool."""
    for row in read_rows(path, of=of, on_repair=lambda n: None, is_nan_null=True):
        yield row.value


def inner_json(text: str) -> Any:
    """JSON that stands as a text within JSON; the text itself where it is none."""
    try:
        return parse_json(text, file="", on_repair=lambda n: None, is_nan_null=True)
    except CorpusError:
        return text


def require(value: Any, kind: type, what: str, *, file: Path, of: str) -> Any:
    """A part of a file that every file of the format has.

    Raises CorpusError: it is not there, so the file is of another tool or another version.
    """
    if not isinstance(value, kind):
        raise CorpusError(file, f"must be {of}: it has no {what}")
    return value


def asked(value: object) -> Asked:
    """A prompt: a text, or messages where all of them are of roles that we know and the last is the user's.

    A chat that stands as JSON within a text is one all the same.
    """
    if isinstance(value, str):
        chat = inner_json(value) if re.match(r'\s*\[\s*\{\s*"(role|content)"', value) else None
        return asked(chat) if isinstance(chat, list) else value
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        messages = [Message(role=item.get("role"), content=text_of(item.get("content"))) for item in value]
        if all(m.role in _ROLES for m in messages) and messages[-1].role == "user":
            return tuple(messages)
        return "\n\n".join(f"{m.role}: {m.content}" for m in messages)
    return "" if value is None else canonical(value)


def text_of(value: object) -> str:
    """Text of a message: a string, or its parts that are text."""
    if isinstance(value, list):
        parts = [part if isinstance(part, str) else part.get("text") for part in value if isinstance(part, str | dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else "" if value is None else canonical(value)


def as_text(value: object) -> str | None:
    """A reference or reply as text: of a list its first; None where there is none."""
    if isinstance(value, list) and value:
        value = value[0]
    return None if value is None else text_of(value)


def canonical(value: object) -> str:
    """JSON that is the same for the same data."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def facts_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Short texts and numbers of a row."""
    return {
        key: str(value)
        for key, value in row.items()
        if isinstance(value, str | int) and 0 < len(str(value)) <= _LONGEST_FACT
    }
