"""The forms in which others write rows: Alpaca, ShareGPT, UltraFeedback, hh-rlhf, OpenAI's, columns of other names.

Loaders take one form and name the command that converts a known other one; `read_foreign` is what that command reads
with. Nothing is guessed twice: a key is a prompt, a reply or a side by its name alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from harness.doors.text import is_absent
from harness.types import Message, Role

Target = Literal["prompts", "sft", "pairs", "replies"]

CONVERSATIONS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "instruction", "question", "query", "problem", "user", "input")
REPLIES = (
    "completion", "response", "output", "answer", "reply", "assistant", "target", "generation", "generated_text",
    "model_output", "prediction", "text",
)  # fmt: skip
REFERENCES = (
    "reference", "references", "gold", "gold_answer", "answers", "label", "labels", "expected", "expected_output",
    "ground_truth", "ideal", "solution", "summary", "sql",
)  # fmt: skip
SIDES = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("chosen_response", "rejected_response"),
    ("preferred", "dispreferred"),
)
_SYSTEMS = ("system", "system_prompt")
_IDS = ("id", "prompt_id", "question_id", "uid")
_KEPT = {*_IDS, "cluster", "split", "draw"}
REASONING = ("reasoning", "reasoning_content", "thinking")
_ROLES: Mapping[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")


class FormError(Exception):
    """Why a row cannot be converted, as it is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRow:
    """A row of any known form, in our terms."""

    form: str
    taken: Mapping[str, str]  # prompt, reply, chosen, … -> the keys taken for it
    unread: tuple[str, ...]  # other keys
    history: tuple[Message, ...]  # up to the user's turn that is answered; a system message first
    reply: str | None  # the chosen one of two
    rejected: str | None
    learns_all: bool  # whether earlier replies of the history are taught too
    n_reasoning: int  # thoughts left out


@dataclass(slots=True)
class _Reader:
    """One row on its way: what was taken for what."""

    row: Mapping[str, Any]
    taken: dict[str, str] = field(default_factory=dict)
    n_reasoning: int = 0
    has_weights: bool = False

    def first(self, keys: Sequence[str], what: str) -> Any:
        """The value of the first of these keys that holds anything; the key is noted as taken."""
        for key in keys:
            value = self.row.get(key)
            if value and not (isinstance(value, str) and is_absent(value)) and f"`{key}`" not in self.used:
                self.taken[what] = f"`{key}`"
                return value
        return None

    @property
    def used(self) -> set[str]:
        return {key for keys in self.taken.values() for key in keys.split(" + ")}

    def messages(self, value: object) -> list[Message]:
        """Messages of a list with role and content, or from and value; of one such message; of hh-rlhf text."""
        if isinstance(value, str):
            return _hh_turns(value)
        items = value if isinstance(value, list) else [value]
        found = [self._message(item) for item in items]
        if not found:
            raise FormError("rows with an empty conversation")
        return [message for message in found if not is_absent(message.content)]

    def _message(self, item: object) -> Message:
        if not isinstance(item, Mapping):
            raise FormError("rows whose messages are no objects")
        role = _ROLES.get(str(item.get("role", item.get("from"))).lower())
        if role is None or item.get("tool_calls") or item.get("function_call"):
            raise FormError("rows with calls of tools or unknown roles")
        self.n_reasoning += sum(bool(item.get(key)) for key in REASONING)
        self.has_weights |= role == "assistant" and item.get("weight", 1) == 0
        name = item.get("name")
        return Message(
            role=role,
            content=_content(item.get("content", item.get("value", item.get("text")))),
            name=name if isinstance(name, str) and not is_absent(name) else None,
        )


def read_foreign(row: Mapping[str, Any]) -> ForeignRow:
    """A row of any known form. Raises FormError: it is of none, or holds what no model here can be shown."""
    reader = _Reader(row)
    history = _history(reader)
    reply: str | None
    rejected: str | None = None
    if (sides := _sides_of(row)) is not None:
        history, reply, rejected = _two_sides(reader, history, sides)
    elif history and history[-1].role == "assistant":
        *history, last = history
        reply = last.content
        reader.taken["reply"] = "the last message"
    else:
        reply = _reply(reader)
    if not any(message.role == "user" for message in history) or history[-1].role != "user":
        raise FormError("rows without a turn of the user that is answered")
    reader.n_reasoning += sum(bool(row.get(key)) for key in REASONING)
    return ForeignRow(
        form=form_of(row) or "rows of prompts",
        taken=reader.taken,
        unread=tuple(key for key, said in row.items() if said and f"`{key}`" not in reader.used and key not in _KEPT),
        history=tuple(history),
        reply=reply,
        rejected=rejected,
        learns_all=any(key in row for key in CONVERSATIONS) and not reader.has_weights,
        n_reasoning=reader.n_reasoning,
    )


def form_of(row: Mapping[str, Any]) -> str | None:
    """What a row's form is called; None where it is not known."""
    if isinstance(row.get("input"), Mapping):
        return "OpenAI's preferences"
    sides = _sides_of(row)
    if sides is not None and isinstance(row[sides[0]], str) and _HH_TURN.match(row[sides[0]]):
        return "hh-rlhf"
    if "conversations" in row or "conversation" in row:
        return "ShareGPT"
    if "instruction" in row:
        return "Alpaca"
    if sides is not None:
        return "UltraFeedback" if isinstance(row[sides[0]], list) else "preferences"
    if "messages" in row:
        return "OpenAI's messages"
    prompt, reply = (next((key for key in keys if row.get(key)), None) for keys in (PROMPTS, REPLIES))
    return f"rows of `{prompt}` and `{reply}`" if prompt and reply and prompt != reply else None


def advice(row: object, file: Path | str, *, to: Target) -> str:
    """The command that converts a file whose row is of a known form, to end a sentence with; else nothing."""
    form = form_of(row) if isinstance(row, Mapping) else None
    command = f"screentest data convert {shlex.quote(str(file))} --to {to}"
    return "" if form is None else f"; it looks like {form}: `{command}` converts it"


def begins_with(history: Sequence[Message], prompt: Sequence[Message]) -> bool:
    """Whether a conversation's first turns are those of the prompt; system messages and outer spaces do not count."""
    turns, asked = (
        [(m.role, m.content.strip()) for m in messages if m.role != "system"] for messages in (history, prompt)
    )
    return turns[: len(asked)] == asked


def _sides_of(row: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in SIDES if row.get(pair[0]) and row.get(pair[1])), None)


def _history(reader: _Reader) -> list[Message]:
    row = reader.row
    system = reader.first(_SYSTEMS, "system")
    history = [Message(role="system", content=_content(system))] if system is not None else []
    if isinstance(row.get("input"), Mapping):
        reader.taken["prompt"] = "`input`"
        return history + reader.messages(row["input"].get("messages"))
    is_pair = _sides_of(row) is not None
    # UltraFeedback has the chosen conversation once more as `messages`.
    if not (is_pair and "prompt" in row) and (conversation := reader.first(CONVERSATIONS, "conversation")) is not None:
        history += reader.messages(conversation)
        return history[:-1] if is_pair and history and history[-1].role == "assistant" else history
    earlier = reader.first(("history",), "earlier turns") or []
    for exchange in earlier if isinstance(earlier, list) else [earlier]:
        if not isinstance(exchange, list) or len(exchange) != 2:
            raise FormError("rows whose `history` is no list of exchanges")
        asked, replied = map(_content, exchange)
        history += [Message(role="user", content=asked), Message(role="assistant", content=replied)]
    prompt = reader.first(PROMPTS, "prompt")
    if prompt is None:
        return history
    if not isinstance(prompt, str) or _HH_TURN.match(prompt):
        return history + reader.messages(prompt)
    more = row.get("input", row.get("context")) if "instruction" in row else None
    if isinstance(more, str) and not is_absent(more) and reader.taken["prompt"] == "`instruction`":
        reader.taken["prompt"] += " + `input`" if "input" in row else " + `context`"
        prompt = f"{prompt.strip()}\n\n{more}"
    return [*history, Message(role="user", content=prompt.strip())]


def _reply(reader: _Reader) -> str | None:
    value = reader.first(REPLIES, "reply")
    if value is None:  # what a reply is held against is the reply that people wrote
        value = reader.first([key for key in REFERENCES if isinstance(reader.row.get(key), str)], "reply")
    if value is None or isinstance(value, str):
        return value.strip() if value else None
    messages = reader.messages(value)
    if [m.role for m in messages] != ["assistant"]:
        raise FormError("rows whose reply is no single message of the assistant")
    return messages[0].content


def _two_sides(reader: _Reader, history: list[Message], sides: tuple[str, str]) -> tuple[list[Message], str, str]:
    values = [reader.row[key] for key in sides]
    reader.taken |= {"chosen": f"`{sides[0]}`", "rejected": f"`{sides[1]}`"}
    chosen, rejected = (
        [Message(role="assistant", content=value.strip())]
        if isinstance(value, str) and _HH_TURN.match(value) is None
        else reader.messages(value)
        for value in values
    )
    joined = join_sides(history, chosen, rejected)
    if joined is None:
        raise FormError("rows whose two replies answer different prompts")
    return joined


def join_sides(
    history: Sequence[Message], chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[list[Message], str, str] | None:
    """One prompt and two replies of conversations that hold the prompt, or single replies; None where they differ.

    Where the conversations begin with the prompt it is taken off, and what they share beyond it is prompt too.
    """
    if not chosen or not rejected or chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        return None
    shared = list(chosen[:-1])
    is_same = [(m.role, m.content) for m in shared] == [(m.role, m.content) for m in rejected[:-1]]
    if not is_same or (shared and not begins_with(shared, history)):
        return None
    if shared:
        systems = [] if shared[0].role == "system" else [m for m in history if m.role == "system"]
        history = [*systems, *shared]
    return list(history), chosen[-1].content.strip(), rejected[-1].content.strip()


def _content(value: object) -> str:
    """A message's text: a string, or the joined text of its parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, list):
        raise FormError("rows whose message is no text")
    texts = [
        part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None for part in value
    ]
    if not all(isinstance(text, str) for text in texts):
        raise FormError("rows with images, sounds or files")
    return "".join(cast(list[str], texts)).strip()


def _hh_turns(text: str) -> list[Message]:
    head, *rest = _HH_TURN.split(text)
    if not rest or not is_absent(head):
        raise FormError("rows whose conversation is plain text")
    roles: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}
    turns = [Message(role=roles[name], content=said.strip()) for name, said in zip(rest[::2], rest[1::2], strict=True)]
    return [turn for turn in turns if not is_absent(turn.content)]
