"""JSONL of the user's own: one JSON object a line, with `messages` or with `prompt` and `completion`.

Roles are the row's, so only the assistant's turns are replies, and texts keep their line breaks. Optional fields:
`cluster` (what is split and resampled as one; a row stands alone without it), `id`, and `split`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.doors.files import Row
from harness.doors.forms import REASONING, REFERENCES, REPLIES, SIDES, advice
from harness.doors.text import is_absent, parse_json, read_id, shown, shown_keys, unused
from harness.errors import CorpusError
from harness.types import SPLITS, Conversation, Split, Utterance
from pipelines.corpus.corpus import Corpus, Format, Tally, Unusable, in_order, require_conversations
from pipelines.corpus.text_repairs import lines_of

_SPLIT_NAMES: Mapping[str, Split] = {
    **{split: split for split in SPLITS},
    "training": "train", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
SUFFIXES = (".jsonl", ".ndjson")
_ROLES = ("system", "user", "assistant")
_KEYS = {"messages", "prompt", "completion", "id", "prompt_id", "cluster", "split"}


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    text: str
    name: str
    is_context: bool  # part of `prompt`: never a reply


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    is_named: bool  # whether the row gives its id
    number: int
    cluster: str | None
    split: Split | None
    turns: tuple[_Turn, ...]  # without system messages
    system: str | None
    group: str | None = None  # stands for the cluster that is not given: that of rows with the same prompt


def rows_of(data: bytes, *, file: str, tally: Tally) -> Iterator[Row]:
    """The objects of a JSONL file; blank lines are passed over.

    Raises:
        CorpusError: for a line that is not JSON, not an object, or whose texts cannot be stored, unless the tally is
            lenient: it skips the former, repairs the latter, and counts both.
    """
    on_repair = partial(tally.repair, "characters that cannot be stored, now U+FFFD") if tally.lenient else None
    for line in lines_of(data, file=file, tally=tally):
        if not line.text.strip():
            continue
        try:
            value = parse_json(line.text, file=file, line=line.number, on_repair=on_repair)
        except CorpusError as err:
            tally.skip("row that is not JSON", file, err.reason, line=line.number)
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
    return tally.corpus(
        conversations,
        extras=extras,
        name=name,
        source="jsonl",
        cluster_unit="cluster" if any(entry.cluster is not None for entry in entries) else "row",
        reply_rule="assistant_turns",
        system=shared,
        explicit_splits=explicit,
        history_only=frozenset(contexts),
    )


def _entries(data: bytes, file: str, tally: Tally) -> list[_Entry]:
    entries: dict[str, _Entry] = {}
    named: set[str] = set()
    for row in rows_of(data, file=file, tally=tally):
        with tally.skipping(file, row.number, unreadable="id, cluster or name that is no text"):
            entry = _entry(row, file, tally)
            key = entry.id if entry.is_named else f"\0{entry.id}"  # apart from the ids that are given
            if key not in entries:
                entries[key] = entry
                named.update([entry.id] if entry.is_named else [])
            elif replace(entry, number=0) == replace(entries[key], number=0):
                tally.repair("identical rows kept once")
            else:
                reason = f"an `id` must be given once, got `{entry.id}` again (first on line {entries[key].number})"
                raise Unusable("row id given twice", reason)
    return _clustered([e if e.is_named else replace(e, id=unused(e.id, named)) for e in entries.values()], tally)


def _clustered(entries: list[_Entry], tally: Tally) -> list[_Entry]:
    """Rows without a cluster share that of the rows with the same prompt: it must not stand on both sides of a split.

    Where rows name their splits, theirs is the last word: only rows of one split are put together.
    """
    first: dict[tuple[Split | None, tuple[tuple[str, str], ...]], str] = {}
    for entry in sorted(entries, key=lambda e: (e.cluster is None, e.id)):
        first.setdefault((entry.split, _prompt(entry)), _cluster(entry))
    grouped = [
        entry if entry.cluster is not None else replace(entry, group=first[entry.split, _prompt(entry)])
        for entry in entries
    ]
    n_joined = sum(entry.group not in (None, entry.id) for entry in grouped)
    tally.see("rows without `cluster` put into that of another row with the same prompt", n_joined)
    return grouped


def _prompt(entry: _Entry) -> tuple[tuple[str, str], ...]:
    """The turns before the last reply."""
    said = [(turn.role, turn.text) for turn in entry.turns if turn.text]
    return tuple(said[:-1] if said[-1][0] == "assistant" else said)


def _entry(row: Row, file: str, tally: Tally) -> _Entry:
    turns = _turns(row.value, file)
    texts = [turn.text for turn in turns]
    if any(turn.role == "system" for turn in turns[1:]):
        raise Unusable("system message out of place", "a system message must be the first, got one further down")
    system = turns[0].text if turns and turns[0].role == "system" else None
    spoken = turns[1:] if system is not None else turns
    if not any(turn.role == "user" and turn.text for turn in spoken):
        reason = f"a row must have a user message with something to read, got {len(spoken)} messages without one"
        raise Unusable("row without a user message", reason)
    _tell_of_unread(row.value, spoken, file, tally)
    tally.see("characters lost before reading (U+FFFD)", sum(text.count("\ufffd") for text in texts))
    tally.see("turns with nothing to read, passed over", sum(not turn.text for turn in spoken))
    key = "id" if row.value.get("id") is not None else "prompt_id"  # as files of replies call it
    given = read_id(row.value.get(key), key)
    return _Entry(
        id=_content_id(turns) if given is None else given,
        is_named=given is not None,
        number=row.number,
        cluster=read_id(row.value.get("cluster"), "cluster"),
        split=_split(row.value),
        turns=tuple(spoken),
        system=system or None,
    )


def _tell_of_unread(value: Mapping[str, Any], turns: list[_Turn], file: str, tally: Tally) -> None:
    """No reply is lost in silence: one under another name is an error where the row has none, else counted."""
    unread = [key for key, said in value.items() if key not in _KEYS and (key in REFERENCES or _is_said(said))]
    has_reply = turns[-1].role == "assistant" and bool(turns[-1].text)
    for key in unread:
        is_reply = key in REPLIES or any(key in sides for sides in SIDES)
        if is_reply and not has_reply:
            reason = f"a reply must be `completion` or the last of `messages`, got `{key}` beside a prompt without one"
            raise Unusable("reply under another name", reason + advice(value, file, to="sft"))
        if key in REFERENCES:
            tally.see(f"`{key}` looks like a reference and was not taken: `completion` is")
        elif is_reply or not has_reply:
            beside = "a reply" if has_reply else "a prompt without reply"
            tally.see(f"`{key[:40]}` beside {beside}, not read")
    messages = [m for m in value.get("messages") or () if isinstance(m, dict)]
    tally.see("thoughts of messages, not read", sum(any(m.get(key) for key in REASONING) for m in messages))
    if any(m.get("role") == "assistant" and m.get("weight") == 0 for m in messages):
        reason = "a message's `weight` must be 1, got 0: replies that are not to be learned are history of a `prompt`"
        raise Unusable("message with a weight of 0", reason + advice(value, file, to="sft"))


def _is_said(value: object) -> bool:
    return bool(value) and (isinstance(value, list) or (isinstance(value, str) and not is_absent(value)))


def _turns(value: Mapping[str, Any], file: str) -> list[_Turn]:
    if "messages" in value and ("prompt" in value or "completion" in value):
        needed = "a row must have `messages` or `prompt` and `completion`, got both"
        raise Unusable("row of two formats", needed + advice(value, file, to="sft"))
    if "messages" in value:
        return _messages(value, "messages", file, is_context=False)
    if "prompt" not in value:
        needed = "a row must have `messages`, or `prompt` and `completion`"
        got = shown_keys(value) + advice(value, file, to="sft")
        raise Unusable("row without messages", f"{needed}, got {got}")
    turns = _side(value, "prompt", "user", file)
    if value.get("completion") is not None:
        turns += _side(value, "completion", "assistant", file)
    return turns


def _side(value: Mapping[str, Any], key: str, role: str, file: str) -> list[_Turn]:
    """`prompt` or `completion`: a text, or messages as TRL has them."""
    if isinstance(value[key], str):
        return [_Turn(role, _said(value[key]), role, False)]
    return _messages(value, key, file, is_context=key == "prompt")


def _messages(row: Mapping[str, Any], key: str, file: str, *, is_context: bool) -> list[_Turn]:
    value = row[key]
    if not isinstance(value, list) or not value:
        raise Unusable("messages that are no list", f"`{key}` must be a list of messages, got {shown(value)}")
    turns = []
    for message in value:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in _ROLES or not isinstance(content, str):
            needed = "must have a `role` of system, user or assistant and a text as `content`"
            reason = f"a message of `{key}` {needed}, got {shown(message)}{advice(row, file, to='sft')}"
            raise Unusable("message without role or text", reason)
        turns.append(_Turn(role, _said(content), read_id(message.get("name"), "name") or role, is_context))
    return turns


def _said(text: str) -> str:
    return "" if is_absent(text) else text.strip()


def _content_id(turns: list[_Turn]) -> str:
    """An id made of the row's content: the line it stands on must not decide its split."""
    content = json.dumps([[turn.role, turn.text] for turn in turns], ensure_ascii=False)
    return "row-" + hashlib.sha256(content.encode(errors="replace")).hexdigest()[:16]


def _split(value: Mapping[str, Any]) -> Split | None:
    given = value.get("split")
    if given is None or given == "":
        return None
    if not isinstance(given, str) or given not in _SPLIT_NAMES:
        raise Unusable("unknown split", f"`split` must be train, validation or test, got {shown(given)}")
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
    return entry.cluster or entry.group or entry.id


def _conversation(entry: _Entry) -> Conversation:
    lines = tuple(
        Utterance(id=f"{entry.id}.{i}", speaker_id=turn.role, speaker=turn.name, text=turn.text)
        for i, turn in enumerate(entry.turns)
    )
    return Conversation(id=entry.id, cluster=_cluster(entry), title=_cluster(entry), utterances=lines)


def _from_file(path: Path, name: str, tally: Tally) -> Corpus | None:
    if path.suffix.lower() not in SUFFIXES:
        return None
    data = path.read_bytes()
    if not data.strip():
        raise CorpusError(path, "a corpus must hold at least one row, got an empty file")
    return read_jsonl_corpus(data, file=str(path), name=name, tally=tally)


FORMAT = Format(from_file=_from_file, is_last=True)
