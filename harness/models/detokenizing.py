"""Generated tokens as text: a reply, a stream that never shows half a character or half a stop string, or bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from harness.doors.answers import Finish, Said, is_thinking_tag, opens_thinking, part_thinking
from harness.types import Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAIL = 16  # tokens of a prompt that can hold the opening of a block of thinking
_UNFINISHED = "\ufffd"  # how the beginning of a character of several bytes decodes


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


class ReplyText:
    """The text of one reply, piece by piece: all pieces together are the whole text up to a stop string."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        """`stops` end the text and are not part of it."""
        self._tokenizer = tokenizer
        self._stops = stops
        self._tokens: list[int] = []
        self._begin = 0  # first token that is decoded again, as context for what follows it
        self._read = 0  # tokens whose text was taken
        self._held = ""  # text that may yet turn out to begin a stop string
        self._is_cut = False

    def push(self, tokens: Sequence[int], *, is_last: bool) -> str:
        """Add tokens (none of them an end token); gives the text that is now certain."""
        if self._is_cut:
            return ""
        self._tokens += tokens
        self._held += self._fresh(is_last)
        cuts = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if cuts:
            self._is_cut = True
            return self._held[: min(cuts)]
        n_kept = 0 if is_last else self._n_open()
        certain, self._held = self._held[: len(self._held) - n_kept], self._held[len(self._held) - n_kept :]
        return certain

    def _fresh(self, is_last: bool) -> str:
        before = decode(self._tokenizer, self._tokens[self._begin : self._read])
        after = decode(self._tokenizer, self._tokens[self._begin :])
        if not is_last and (len(after) <= len(before) or after.endswith(_UNFINISHED)):
            return ""
        self._begin, self._read = self._read, len(self._tokens)
        return after[len(before) :]

    def _n_open(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        most = min(len(self._held), max((len(stop) - 1 for stop in self._stops), default=0))
        for n in range(most, 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stops):
                return n
        return 0


def token_bytes(tokenizer: PreTrainedTokenizerBase, token_id: int) -> bytes:
    """The exact bytes of a token; those of a control token are its name's."""
    token = str(tokenizer.convert_ids_to_tokens(token_id))
    if token_id in tokenizer.added_tokens_decoder:
        return token.encode()
    known = _byte_of()
    if _is_byte_level(tokenizer) and all(letter in known for letter in token):
        return bytes(known[letter] for letter in token)
    return str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False)).encode()


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    core = getattr(tokenizer, "backend_tokenizer", None)
    return core is not None and "ByteLevel" in repr(core.decoder)


@functools.cache
def _byte_of() -> dict[str, int]:
    """Byte-level vocabularies write bytes as letters: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}
