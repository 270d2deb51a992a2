"""Chats as a model sees them: the shared system prompt, few-shot exchanges, and the model's own chat template.

Training, generation and held-out loss all go through `render` and `reply_ids`, so that a model is always asked in the
form in which it was taught.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from harness.errors import ConfigError, InputError
from harness.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ChatMessage = dict[str, str]

# Templates put in an assistant persona of their own when no system message is given, so one is always given.
DIALOGUE_SYSTEM = "Continue the film dialogue with the next line only."


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """What the start-up check learned about a tokenizer's chat template."""

    end_id: int  # the token that ends an assistant turn: trained, scored and stopped at
    end_token: str  # its text, e.g. "<|im_end|>"


def chat_messages(
    prompt_messages: Sequence[Message],
    *,
    system: str | None = DIALOGUE_SYSTEM,
    shots: Sequence[Sequence[Message]] = (),
) -> list[ChatMessage]:
    """The complete chat of a prompt: system message, few-shot exchanges in order, then the prompt's own messages.

    `system=None` gives no system message, which leaves the choice to the model's template.

    Raises:
        InputError: the prompt is empty, does not end with a turn to answer, or brings its own system message.
    """
    _validate_turns(prompt_messages)
    chat = [] if system is None else [{"role": "system", "content": system}]
    for turn in (turn for shot in (*shots, prompt_messages) for turn in shot):
        chat.append({"role": turn.role, "content": turn.content})
    return chat


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], *, reply_follows: bool = True
) -> tuple[int, ...]:
    """Token ids of a chat under the tokenizer's own template.

    `reply_follows` adds the opening of the assistant's turn. Control tokens written out inside a message's text (say,
    a line that contains `<|im_end|>`) are broken up first: text cannot end its own turn.

    Raises:
        InputError: the template refuses the chat, e.g. because it demands that user and assistant alternate.
    """
    import jinja2

    safe = [{"role": m["role"], "content": neutralise(tokenizer, m["content"])} for m in messages]
    try:
        text = tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=reply_follows)
    except jinja2.exceptions.TemplateError as err:
        roles = ", ".join(m["role"] for m in messages)
        raise InputError(
            f"`messages` must suit the model's chat template, got roles [{roles}] and it says: {err}; "
            "merge or reorder the turns, or drop the system prompt"
        ) from err
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def reply_ids(tokenizer: PreTrainedTokenizerBase, reply: str) -> tuple[int, ...]:
    """Token ids of a reply alone, without the end token; control tokens in its text are broken up."""
    return tuple(tokenizer.encode(neutralise(tokenizer, reply), add_special_tokens=False))


def neutralise(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text with every written-out control token split by a space after its first character."""
    for token in _control_tokens(tokenizer):
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Check at start-up that the chat template can be used, and learn its end token.

    The rules: there is a template; the prompt's rendering is the beginning of the rendering with the reply, which then
    goes on with the reply's own tokens; and a single token follows the reply.

    Raises:
        ConfigError: a rule is broken, so that training and generation would see different text.
    """
    name = getattr(tokenizer, "name_or_path", "") or "tokenizer"
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(f"`{name}` must have a chat template, got none; take the instruct model or add a template")
    system, ask, reply = "Be brief.", "Where are you?", "Here, by the door"
    chat = [{"role": "system", "content": system}, {"role": "user", "content": ask}]
    before = render(tokenizer, chat)
    whole = render(tokenizer, [*chat, {"role": "assistant", "content": reply}], reply_follows=False)
    through_reply = before + reply_ids(tokenizer, reply)
    if whole[: len(through_reply)] != through_reply or len(whole) == len(through_reply):
        raise ConfigError(
            f"`{name}` must have a chat template that writes prompt, reply and an end token in this order, got "
            f"{tokenizer.decode(list(whole))!r}; use a model whose template does not rewrite earlier turns"
        )
    end_id = whole[len(through_reply)]
    end_token = cast(str, tokenizer.convert_ids_to_tokens(end_id))
    if end_token not in _control_tokens(tokenizer):
        raise ConfigError(
            f"`{name}` must end an assistant turn with a control token, got {end_token!r}; "
            "use a model whose template closes turns with a token such as `<|im_end|>`"
        )
    return ChatFormat(end_id=end_id, end_token=end_token)


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


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Every token that the tokenizer recognises as a whole inside text, longest first."""
    return _sorted_tokens(tuple(str(t) for t in tokenizer.added_tokens_decoder.values()))


@functools.lru_cache(maxsize=64)
def _sorted_tokens(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted((t for t in tokens if len(t) > 1), key=len, reverse=True))
