"""Generated tokens as text, and whether a stop string has just been completed in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Text of generated tokens, without control tokens."""
    text = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def stop_test(tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Whether a stop string has just been completed; reads only the tokens that could hold it."""
    if not stop:
        return lambda tokens: False
    n_last = max(len(text.encode()) for text in stop) + 4  # a token is at least a byte

    def is_stopped(tokens: Sequence[int]) -> bool:
        tail = decode(tokenizer, tokens[-n_last:])
        return any(text in tail for text in stop)

    return is_stopped
