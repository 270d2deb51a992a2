"""Preference pairs on disk: JSONL in TRL's conversational form, with what else is known of each pair beside it.

`prompt`, `chosen` and `rejected` are lists of messages, the system message first in the prompt; any trainer that takes
TRL's preference format reads them and passes over the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.doors.files import Row, read_rows
from harness.doors.forms import advice, join_sides
from harness.doors.text import is_absent, read_id, shown, shown_keys, unused
from harness.errors import CorpusError, InputError, SplitError
from harness.models.chat_templates import chat_messages
from harness.store.artifacts import to_json, write_jsonl
from harness.types import Candidate, Message, PreferencePair, Prompt, Role

PAIRS = "pairs.jsonl"
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an imported file held."""

    pairs: tuple[PreferencePair, ...]
    n_own_system: int  # rows whose system message gave way to that of the data


def write_pairs(folder: Path, pairs: Iterable[PreferencePair], *, system: str | None) -> int:
    """Write `pairs.jsonl`; returns how many."""
    return write_jsonl(folder / PAIRS, [_line(pair, system=system) for pair in pairs])


def read_pairs(folder: Path) -> tuple[PreferencePair, ...]:
    """The pairs of a folder, checked.

    Raises:
        InputError: none was written there, or chosen and rejected of a row are the same.
        SplitError: a row of another split than TRAIN.
    """
    return import_file(folder / PAIRS).pairs


def import_file(file: Path, *, films: Mapping[str, str] | None = None) -> Imported:
    """Preferences of any origin: `prompt`, `chosen` and `rejected` as text or as messages.

    Chosen and rejected may be whole conversations that differ in the last message alone; the prompt, where it is given
    beside them, is taken off. What a row says beside that (`prompt_id`, `cluster`, `reference`, `margin`,
    `preferred_by`, `reason`, `candidates`, `orders_agree`, `split`) is kept. Rows without `cluster` share that of the
    rows with the same prompt, so that no prompt can stand on both sides of a split. `films` are the clusters of prompt
    ids that are known.

    Raises:
        InputError: there is no such file.
        CorpusError: a row breaks the format, or its chosen and rejected are the same; it names file and line.
        SplitError: a row says that it is not of TRAIN.
    """
    drafts = [_draft(row, file) for row in read_rows(file, of="preferences")]
    drafts = [replace(d, cluster=(films or {}).get(d.prompt_id or "", d.cluster)) for d in drafts]
    given = {draft.prompt_id for draft in drafts if draft.prompt_id is not None}
    ids = [draft.prompt_id or unused(f"row-{draft.number}", given) for draft in drafts]
    return Imported(
        pairs=tuple(
            replace(draft.pair, prompt=replace(draft.pair.prompt, id=prompt_id, cluster=cluster))
            for draft, prompt_id, cluster in zip(drafts, ids, _clusters(drafts, ids), strict=True)
        ),
        n_own_system=sum(draft.has_system for draft in drafts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A row that is checked, before it is known which rows share its prompt."""

    number: int  # of its line
    pair: PreferencePair  # without id and cluster
    prompt_id: str | None
    cluster: str | None
    has_system: bool

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The prompt's text, whatever its spacing and case."""
        return tuple((turn.role, " ".join(turn.content.split()).casefold()) for turn in self.pair.prompt.messages)


class _FormError(InputError):
    """A row is not of our form: it may be of another that can be converted."""


def _clusters(drafts: Sequence[_Draft], ids: Sequence[str]) -> list[str]:
    """The given cluster of every row, else one for all rows that share a prompt or its id."""
    parents: dict[object, object] = {}

    def root(key: object) -> object:
        while (parent := parents.setdefault(key, key)) != key:
            parents[key] = parents[parent]
            key = parent
        return key

    for draft, prompt_id in zip(drafts, ids, strict=True):
        if draft.cluster is None:
            parents[root(draft.asked)] = root(prompt_id)
    names: dict[object, str] = {}
    for draft, prompt_id in sorted(zip(drafts, ids, strict=True), key=lambda known: known[0].cluster is None):
        names.setdefault(root(draft.asked), draft.cluster or prompt_id)
    return [draft.cluster or names[root(draft.asked)] for draft in drafts]


def _line(pair: PreferencePair, *, system: str | None) -> dict[str, Any]:
    said = to_json(pair)
    return {
        "prompt": chat_messages(pair.prompt.messages, system=system),
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "prompt_id": pair.prompt.id,
        "cluster": pair.prompt.cluster,
        "split": pair.prompt.split,
        "reference": pair.prompt.reference,
        "words": {"chosen": len(pair.chosen.split()), "rejected": len(pair.rejected.split())},
        **{key: said[key] for key in ("margin", "preferred_by", "reason", "candidates", "orders_agree")},
    }


def _draft(row: Row, file: Path) -> _Draft:
    try:
        return _checked(row)
    except SplitError as err:
        raise SplitError(f"`{file}` line {row.number}: {err}") from err
    except _FormError as err:
        raise CorpusError(file, f"{err}{advice(row.value, file, to='pairs')}", line=row.number) from err
    except InputError as err:
        raise CorpusError(file, str(err), line=row.number) from err


def _checked(row: Row) -> _Draft:
    value = row.value
    for key in ("chosen", "rejected"):
        if value.get(key) is None:
            raise _FormError(f"`{key}` must be given; the keys are {shown_keys(value)}")
    if (split := value.get("split")) not in (None, "", "train"):
        raise SplitError(f"preferences must be of the train split, got {shown(split)}: TEST and VALIDATION never train")
    history, chosen, rejected = _conversation(value)
    if chosen == rejected:
        raise InputError("`chosen` and `rejected` must differ, they are the same; drop the row")
    for key, reply in (("chosen", chosen), ("rejected", rejected)):
        if is_absent(reply):
            raise InputError(f"`{key}` must not be empty")
    turns = tuple(m for m in history if m.role != "system")
    if not turns or turns[-1].role != "user" or is_absent(turns[-1].content):
        raise InputError("`prompt` must end with the user's turn that is answered")
    prompt = Prompt(id="", messages=turns, split="train", cluster="", reference=_optional(value, "reference", str))
    return _Draft(
        number=row.number,
        pair=PreferencePair(
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            margin=_optional(value, "margin", float),
            preferred_by=read_id(value.get("preferred_by"), "preferred_by") or "import",
            reason=_optional(value, "reason", str) or "",
            candidates=tuple(_candidate(item) for item in _optional(value, "candidates", list) or ()),
            orders_agree=_optional(value, "orders_agree", bool),
        ),
        prompt_id=read_id(value.get("prompt_id"), "prompt_id"),
        cluster=read_id(value.get("cluster"), "cluster"),
        has_system=len(turns) < len(history),
    )


def _candidate(item: object) -> Candidate:
    if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
        raise InputError(f"`candidates` must be objects with a `text`, got {shown(item)}")
    n_tokens = _optional(item, "n_tokens", int)
    return Candidate(text=item["text"], score=_optional(item, "score", float), n_tokens=n_tokens)


def _conversation(row: Mapping[str, Any]) -> tuple[list[Message], str, str]:
    """History, chosen and rejected of a row in any of the forms."""
    prompt = row.get("prompt")
    has_prompt = bool(prompt) and not (isinstance(prompt, str) and is_absent(prompt))
    chosen, rejected = (_messages(row[key], key=key, role="assistant") for key in ("chosen", "rejected"))
    if not has_prompt and min(len(chosen), len(rejected)) < 2:
        raise _FormError("`prompt` must be given, or chosen and rejected be whole conversations, got neither")
    history = [] if not has_prompt else _messages(prompt, key="prompt")
    joined = join_sides(history, chosen, rejected)
    if joined is None:
        raise _FormError(
            "`chosen` and `rejected` must be replies of the assistant to the same `prompt`: texts, single messages, or "
            "conversations that begin with it and share all messages but the last"
        )
    return joined


def _messages(value: object, *, key: str, role: Role = "user") -> list[Message]:
    """A list of messages; a text is one of this role."""
    if isinstance(value, str):
        return [Message(role=role, content=value)]
    if not isinstance(value, list) or not value:
        raise _FormError(f"`{key}` must be text or a list of messages, got {shown(value)}")
    found = []
    for item in value:
        is_message = isinstance(item, Mapping) and item.get("role") in _ROLES and isinstance(item.get("content"), str)
        if not is_message:
            raise _FormError(f"`{key}` must hold messages with `role` and `content`, got {shown(item)}")
        found.append(Message(role=item["role"], content=item["content"], name=read_id(item.get("name"), "name")))
    return found


def _optional(row: Mapping[str, Any], key: str, kind: type) -> Any:
    """A value of a kind, or None where the row has none; a whole number passes for a float."""
    value = row.get(key)
    if value is None:
        return None
    is_number = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if (not isinstance(value, kind) and not is_number) or (kind is int and isinstance(value, bool)):
        raise InputError(f"`{key}` must be {kind.__name__} or null, got {shown(value)}")
    return kind(value)
