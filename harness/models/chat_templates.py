"""Chats as a model sees them: the shared system prompt, few-shot exchanges, and the model's own chat template.

Training, generation and held-out loss all go through `render` and `reply_ids`, so that a model is always asked in the
form in which it was taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.doors.templates import ChatMessage as ChatMessage
from harness.doors.templates import chat_format as chat_format
from harness.doors.templates import control, write
from harness.errors import InputError
from harness.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Templates put in an assistant persona of their own when no system message is given, so one is always given.
DIALOGUE_SYSTEM = "Continue the film dialogue with the next line only."


def chat_messages(
    prompt_messages: Sequence[Message], *, system: str | None = DIALOGUE_SYSTEM, shots: Sequence[Sequence[Message]] = ()
) -> list[ChatMessage]:
    """The complete chat of a prompt: system message, few-shot exchanges in order, then the prompt's own messages.

    `system=None` gives no system message, which leaves the choice to the model's template.

    Raises InputError: the prompt is empty, does not end with a turn to answer, or brings its own system message.
    """
    _validate_turns(prompt_messages)
    chat = [] if system is None else [{"role": "system", "content": system}]
    for turn in (turn for shot in (*shots, prompt_messages) for turn in shot):
        chat.append({"role": turn.role, "content": turn.content})
    return chat


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], *, reply_follows: bool = True
) -> tuple[int, ...]:
    """Token ids of a chat under the tokenizer's own template, adapted (`harness.doors.templates`).

    `reply_follows` adds the opening of the assistant's turn. Control tokens written out inside a message's text (say,
    a line that contains `<|im_end|>`) are broken up first: text cannot end its own turn.

    Raises InputError: the template refuses the chat.
    """
    marks = control(tokenizer)
    safe = [{"role": m["role"], "content": marks.break_up(m["content"])} for m in messages]
    return tuple(tokenizer.encode(write(tokenizer, safe, reply_follows=reply_follows), add_special_tokens=False))


def reply_ids(tokenizer: PreTrainedTokenizerBase, reply: str) -> tuple[int, ...]:
    """Token ids of a reply alone, without the end token; control tokens in its text are broken up."""
    if not reply:
        return ()
    lead = chat_format(tokenizer).adaptation.lead
    return tuple(tokenizer.encode(lead + neutralise(tokenizer, reply), add_special_tokens=False))


def neutralise(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text with every written-out control token split by a space after its first character."""
    return control(tokenizer).break_up(text)


def _validate_turns(messages: Sequence[Message]) -> None:
    if not messages:
        raise InputError("`messages` must hold at least the turn to answer, got none")
    if any(m.role == "system" for m in messages):
        raise InputError("`messages` of a prompt must not hold a system message, got one; give it as `system` instead")
    if messages[-1].role != "user":
        raise InputError(
            f"`messages` must end with the user turn that is to be answered, got `{messages[-1].role}` last; "
            "move the known reply to `reference`"
        )
