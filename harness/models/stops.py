"""Generated tokens as text and as a reply, and whether a stop string has just been completed in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from harness.doors.answers import Finish, Said, is_thinking_tag, opens_thinking, part_thinking
from harness.types import Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_TAIL = 16  # tokens of a prompt that can hold the opening of a block of thinking


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Text of generated tokens, without control tokens."""
    text = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def read_reply(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    tokens: Sequence[int],
    *,
    decoding: Decoding,
    finish: Finish,
) -> Said:
    """What a model said after a prompt: cut at stop strings, its thinking told apart."""
    text = _marked(tokenizer, tokens)
    cuts = [at for at in (text.find(stop) for stop in decoding.stop) if at >= 0]
    return part_thinking(
        text[: min(cuts)] if cuts else text,
        finish=finish,
        keep=decoding.keep_thinking,
        is_open=begins_thinking(tokenizer, prompt),
    )


def begins_thinking(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> bool:
    """Whether a rendered prompt ends inside a block of thinking that its template opened."""
    return opens_thinking(str(tokenizer.decode(list(prompt[-_TAIL:]), skip_special_tokens=False)))


def _marked(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Text of generated tokens without control tokens, but with the marks of thinking, which are some in places."""
    known = tokenizer.added_tokens_decoder
    marks = {t for t in set(tokens) if t in known and known[t].special and is_thinking_tag(known[t].content)}
    if not marks:
        return decode(tokenizer, tokens)
    parts = groupby(tokens, key=lambda token: token in marks)
    return "".join(
        "".join(known[t].content for t in some) if are_marks else decode(tokenizer, list(some))
        for are_marks, some in parts
    )


def stop_test(tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Whether a stop string has just been completed; reads only the tokens that could hold it."""
    if not stop:
        return lambda tokens: False
    n_last = max(len(text.encode()) for text in stop) + 4  # a token is at least a byte

    def is_stopped(tokens: Sequence[int]) -> bool:
        tail = decode(tokenizer, tokens[-n_last:])
        return any(text in tail for text in stop)

    return is_stopped
