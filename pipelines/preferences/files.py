"""Preference pairs on disk: JSONL in TRL's conversational form, with what else is known of each pair beside it.

`prompt`, `chosen` and `rejected` are lists of messages, the system message first in the prompt; any trainer that takes
TRL's preference format reads them and passes over the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.artifacts import from_json, to_json, write_jsonl
from harness.errors import InputError, SplitError
from harness.models.chat import chat_messages
from harness.types import Candidate, Message, PreferencePair, Prompt

PAIRS = "pairs.jsonl"
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an imported file held."""

    pairs: tuple[PreferencePair, ...]
    n_own_system: int  # rows whose system message gave way to that of the data


def write_pairs(folder: Path, pairs: Iterable[PreferencePair], *, system: str) -> int:
    """Write `pairs.jsonl`; returns how many."""
    return write_jsonl(folder / PAIRS, [_line(pair, system=system) for pair in pairs])


def read_pairs(folder: Path) -> tuple[PreferencePair, ...]:
    """The pairs of a folder, checked.

    Raises:
        InputError: none was written there, or chosen and rejected of a row are the same.
        SplitError: a row of another split than TRAIN.
    """
    return import_file(folder / PAIRS).pairs


def import_file(file: Path) -> Imported:
    """Preferences of any origin: `prompt`, `chosen` and `rejected` as text or as messages.

    A row may leave `prompt` out when chosen and rejected are whole conversations that differ in the last message alone.
    What a row says beside that (`prompt_id`, `cluster`, `reference`, `margin`, `preferred_by`, `reason`, `candidates`,
    `orders_agree`, `split`) is kept.

    Raises:
        InputError: the file is not there, a row breaks the format, or its chosen and rejected are the same.
        SplitError: a row says that it is not of TRAIN.
    """
    if not file.is_file():
        raise InputError(f"`{file}` must be an existing JSONL file of preferences; there is none")
    pairs, n_own_system = [], 0
    for number, row in _rows(file):
        try:
            pair, has_system = _pair(row, default_id=f"row-{number}")
        except SplitError as err:
            raise SplitError(f"`{file.name}` line {number}: {err}") from err
        except InputError as err:
            raise InputError(f"`{file.name}` line {number}: {err}") from err
        pairs.append(pair)
        n_own_system += has_system
    if not pairs:
        raise InputError(f"`{file}` must hold at least one preference; it is empty")
    return Imported(pairs=tuple(pairs), n_own_system=n_own_system)


def _line(pair: PreferencePair, *, system: str) -> dict[str, Any]:
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


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise InputError(f"`{file}` must be UTF-8, it is not at byte {err.start}") from err
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as err:
            raise InputError(f"`{file.name}` line {number}: not JSON ({err.msg})") from err
        if not isinstance(row, dict):
            raise InputError(f"`{file.name}` line {number}: must be an object, got {type(row).__name__}")
        yield number, row


def _pair(row: Mapping[str, Any], *, default_id: str) -> tuple[PreferencePair, bool]:
    for key in ("chosen", "rejected"):
        if key not in row:
            raise InputError(f"`{key}` must be given; the keys are {', '.join(row)}")
    if row.get("split", "train") != "train":
        raise SplitError(f"preferences must be of the train split, got {row['split']}: TEST and VALIDATION never train")
    history, chosen, rejected = _conversation(row)
    if chosen == rejected:
        raise InputError("`chosen` and `rejected` must differ, they are the same; drop the row")
    for key, reply in (("chosen", chosen), ("rejected", rejected)):
        if not reply:
            raise InputError(f"`{key}` must not be empty")
    own = [m for m in history if m.role == "system"]
    turns = tuple(m for m in history if m.role != "system")
    if not turns or turns[-1].role != "user":
        raise InputError("`prompt` must end with the user's turn that is answered")
    prompt_id = str(row.get("prompt_id", default_id))
    pair = PreferencePair(
        prompt=Prompt(
            id=prompt_id,
            messages=turns,
            split="train",
            cluster=str(row.get("cluster", prompt_id)),
            reference=_optional(row, "reference", str),
        ),
        chosen=chosen,
        rejected=rejected,
        margin=_optional(row, "margin", float),
        preferred_by=str(row.get("preferred_by", "import")),
        reason=str(row.get("reason", "")),
        candidates=tuple(from_json(Candidate, item) for item in row.get("candidates") or ()),
        orders_agree=_optional(row, "orders_agree", bool),
    )
    return pair, bool(own)


def _conversation(row: Mapping[str, Any]) -> tuple[list[Message], str, str]:
    """History, chosen and rejected of a row in any of the forms."""
    if "prompt" in row:
        prompt = row["prompt"]
        is_text = isinstance(prompt, str)
        history = [Message(role="user", content=prompt)] if is_text else _messages(prompt, key="prompt")
        return history, _reply(row["chosen"], key="chosen"), _reply(row["rejected"], key="rejected")
    chosen, rejected = (_messages(row[key], key=key) for key in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise InputError("`prompt` must be given where chosen and rejected do not share all messages but the last")
    return chosen[:-1], _reply(row["chosen"][-1:], key="chosen"), _reply(row["rejected"][-1:], key="rejected")


def _reply(value: object, *, key: str) -> str:
    if isinstance(value, str):
        return value.strip()
    messages = _messages(value, key=key)
    if len(messages) != 1 or messages[0].role != "assistant":
        raise InputError(f"`{key}` must be text or one assistant message, got {[m.role for m in messages]}")
    return messages[0].content.strip()


def _messages(value: object, *, key: str) -> list[Message]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise InputError(f"`{key}` must be text or a list of messages, got {type(value).__name__}")
    found = []
    for item in value:
        is_message = isinstance(item, Mapping) and item.get("role") in _ROLES and isinstance(item.get("content"), str)
        if not is_message:
            raise InputError(f"`{key}` must hold messages with `role` and `content`, got {str(item)[:60]}")
        found.append(Message(role=item["role"], content=item["content"], name=_optional(item, "name", str)))
    return found


def _optional(row: Mapping[str, Any], key: str, kind: type) -> Any:
    """A value of a kind, or None where the row has none; a whole number passes for a float."""
    value = row.get(key)
    if value is None:
        return None
    is_number = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, kind) and not is_number:
        raise InputError(f"`{key}` must be {kind.__name__} or null, got {value!r}")
    return kind(value)
