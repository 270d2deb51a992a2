"""JSONL of the user's own: one JSON object a line, with `messages` or with `prompt` and `completion`.

Roles are the row's, so only the assistant's turns are replies, and texts keep their line breaks. Optional fields:
`cluster` (what is split and resampled as one; a row stands alone without it), `id`, and `split`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from harness.errors import CorpusError
from harness.types import SPLITS, Conversation, Split, Utterance
from pipelines.corpus.corpus import (
    Corpus,
    Tally,
    content_digest,
    in_order,
    require_conversations,
)
from pipelines.corpus.text import lines_of

_SPLIT_NAMES: Mapping[str, Split] = {
    **{split: split for split in SPLITS},
    "training": "train", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a JSONL file."""

    number: int  # of its line, from 1
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    text: str
    name: str
    is_context: bool  # part of `prompt`: never a reply


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    number: int
    cluster: str | None
    split: Split | None
    turns: tuple[_Turn, ...]  # without system messages
    system: str | None


class _RowError(Exception):
    """Why a row cannot be used; kind for the counts, message for the reader."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def rows_of(data: bytes, *, file: str, tally: Tally) -> Iterator[Row]:
    """The objects of a JSONL file; blank lines are passed over.

    Raises:
        CorpusError: for a line that is not JSON or not an object, unless the tally is lenient.
    """
    for line in lines_of(data, file=file, tally=tally):
        if not line.text.strip():
            continue
        try:
            value = json.loads(line.text)
        except ValueError as err:
            tally.skip("row that is not JSON", file, f"a row must be JSON, got: {err}", line=line.number)
            continue
        if not isinstance(value, dict):
            reason = f"a row must be a JSON object, got {type(value).__name__}"
            tally.skip("row that is not an object", file, reason, line=line.number)
            continue
        yield Row(line.number, value)


def read_jsonl_corpus(data: bytes, *, file: str, name: str, tally: Tally) -> Corpus:
    """Read rows as chats.

    System messages: when every row brings the same one it becomes the corpus's own (`Corpus.system`); when they
    differ, each is put before its row's first user message, because variants bring the system prompt.

    Raises:
        CorpusError: naming file, line and reason: a row that is not an object, lacks what it needs, names an unknown
            role or split, repeats an id, or puts one cluster into two splits; no row at all. A lenient tally skips
            and counts all but the last.
    """
    entries = _entries(data, file, tally)
    systems = {entry.system for entry in entries}
    shared = next(iter(systems)) if len(systems) == 1 else None
    if shared is None:
        entries = [_folded(entry, tally) for entry in entries]
    splits = _explicit_splits(entries, file, tally)
    conversations = in_order(_conversation(entry) for entry in entries if splits.get(_cluster(entry)) == entry.split)
    require_conversations(conversations, file)
    contexts = (f"{entry.id}.{i}" for entry in entries for i, turn in enumerate(entry.turns) if turn.is_context)
    explicit = {cluster: split for cluster, split in splits.items() if split is not None}
    extras = (shared or "", *(f"{cluster}={split}" for cluster, split in sorted(explicit.items())))
    return Corpus(
        name=name,
        source="jsonl",
        conversations=conversations,
        digest=content_digest(conversations, *extras),
        cluster_unit="cluster" if any(entry.cluster is not None for entry in entries) else "row",
        reply_rule="assistant_turns",
        system=shared,
        explicit_splits=explicit,
        history_only=frozenset(contexts),
        repaired=tally.repaired,
        skipped=tally.skipped,
        seen=tally.seen,
    )


def _entries(data: bytes, file: str, tally: Tally) -> list[_Entry]:
    entries: dict[str, _Entry] = {}
    for row in rows_of(data, file=file, tally=tally):
        try:
            entry = _entry(row, tally)
        except _RowError as err:
            tally.skip(err.kind, file, str(err), line=row.number)
            continue
        if entry.id not in entries:
            entries[entry.id] = entry
        elif replace(entry, number=0) == replace(entries[entry.id], number=0):
            tally.repair("identical rows kept once")
        else:
            reason = f"an `id` must be given once, got `{entry.id}` again (first on line {entries[entry.id].number})"
            tally.skip("row id given twice", file, reason, line=row.number)
    return list(entries.values())


def _entry(row: Row, tally: Tally) -> _Entry:
    turns = _turns(row.value)
    texts = [turn.text for turn in turns]
    if any(turn.role == "system" for turn in turns[1:]):
        raise _RowError("system message out of place", "a system message must be the first, got one further down")
    system = turns[0].text if turns and turns[0].role == "system" else None
    spoken = turns[1:] if system is not None else turns
    if not any(turn.role == "user" for turn in spoken):
        raise _RowError("row without a user message", f"a row must have a user message, got {len(spoken)} without one")
    lost = sum(text.count("\ufffd") for text in texts)
    tally.see("characters lost before reading (U+FFFD)", lost)
    return _Entry(
        id=_identifier(row.value, turns),
        number=row.number,
        cluster=_optional_text(row.value, "cluster"),
        split=_split(row.value),
        turns=tuple(spoken),
        system=system or None,
    )


def _turns(value: Mapping[str, Any]) -> list[_Turn]:
    if "messages" in value and ("prompt" in value or "completion" in value):
        raise _RowError("row of two formats", "a row must have `messages` or `prompt` and `completion`, got both")
    if "messages" in value:
        return _messages(value["messages"], "messages", is_context=False)
    if "prompt" not in value:
        needed = "a row must have `messages`, or `prompt` and `completion`"
        raise _RowError("row without messages", f"{needed}, got {sorted(value) or 'an empty object'}")
    turns = _side(value["prompt"], "prompt", "user")
    if value.get("completion") is not None:
        turns += _side(value["completion"], "completion", "assistant")
    return turns


def _side(value: object, key: str, role: str) -> list[_Turn]:
    """`prompt` or `completion`: a text, or messages as TRL has them."""
    if isinstance(value, str):
        return [_Turn(role, value.strip(), role, False)]
    return _messages(value, key, is_context=key == "prompt")


def _messages(value: object, key: str, *, is_context: bool) -> list[_Turn]:
    if not isinstance(value, list) or not value:
        raise _RowError("messages that are no list", f"`{key}` must be a list of messages, got {_shown(value)}")
    turns = []
    for message in value:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in _ROLES or not isinstance(content, str):
            needed = "must have a `role` of system, user or assistant and a text as `content`"
            raise _RowError("message without role or text", f"a message of `{key}` {needed}, got {_shown(message)}")
        name = message.get("name")
        turns.append(_Turn(role, content.strip(), name if isinstance(name, str) and name else role, is_context))
    return turns


def _identifier(value: Mapping[str, Any], turns: list[_Turn]) -> str:
    """The row's id, else one made of its content: the line it stands on must not decide its split."""
    given = _optional_text(value, "id")
    if given is not None:
        return given
    content = json.dumps([[turn.role, turn.text] for turn in turns], ensure_ascii=False)
    return "row-" + hashlib.sha256(content.encode(errors="replace")).hexdigest()[:16]


def _optional_text(value: Mapping[str, Any], key: str) -> str | None:
    given = value.get(key)
    if given is None or given == "":
        return None
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise _RowError(f"`{key}` that is no text", f"`{key}` must be a text or a whole number, got {_shown(given)}")
    return str(given)


def _split(value: Mapping[str, Any]) -> Split | None:
    given = value.get("split")
    if given is None:
        return None
    if not isinstance(given, str) or given not in _SPLIT_NAMES:
        raise _RowError("unknown split", f"`split` must be train, validation or test, got {_shown(given)}")
    return _SPLIT_NAMES[given]


def _folded(entry: _Entry, tally: Tally) -> _Entry:
    """The row with its system message put before its first user message."""
    if entry.system is None:
        return entry
    tally.repair("system messages put before the first user message")
    turns = list(entry.turns)
    first = next(i for i, turn in enumerate(turns) if turn.role == "user")
    turns[first] = replace(turns[first], text=f"{entry.system}\n\n{turns[first].text}")
    return replace(entry, turns=tuple(turns), system=None)


def _explicit_splits(entries: list[_Entry], file: str, tally: Tally) -> dict[str, Split | None]:
    """What the rows say of each cluster's split; None where they say nothing.

    A cluster in two splits would put its rows on both sides of the question.
    """
    splits: dict[str, Split | None] = {}
    for entry in entries:
        cluster = _cluster(entry)
        if splits.setdefault(cluster, entry.split) != entry.split:
            here, there = entry.split or "no split", splits[cluster] or "no split"
            reason = f"a cluster must be in one split, got `{cluster}` in {here} after {there}"
            tally.skip("cluster in two splits", file, reason, line=entry.number)
    return splits


def _cluster(entry: _Entry) -> str:
    return entry.id if entry.cluster is None else entry.cluster


def _conversation(entry: _Entry) -> Conversation:
    lines = tuple(
        Utterance(id=f"{entry.id}.{i}", speaker_id=turn.role, speaker=turn.name, text=turn.text)
        for i, turn in enumerate(entry.turns)
    )
    return Conversation(id=entry.id, cluster=_cluster(entry), title=_cluster(entry), utterances=lines)


def _shown(value: object) -> str:
    text = json.dumps(cast(Any, value), ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def require_text(data: bytes, file: str) -> None:
    """Refuse an empty file with a clear word.

    Raises:
        CorpusError: when the file holds nothing but white space.
    """
    if not data.strip():
        raise CorpusError(file, "a corpus must hold at least one row, got an empty file")
