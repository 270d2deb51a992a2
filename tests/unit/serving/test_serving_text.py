"""Streams of text that never show half of anything."""

from __future__ import annotations

import pytest
from fakes import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from harness.models.detokenizing import ReplyText, decode, token_bytes

TOKENIZER = tiny_tokenizer()
TEXTS = st.text(alphabet="abcSTOP é€🎬\n", max_size=40)


def _cut(text: str, stops: list[str]) -> str:
    ends = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return text[: min(ends)] if ends else text


@given(
    text=TEXTS,
    sizes=st.lists(st.integers(1, 5), max_size=40),
    stops=st.lists(st.sampled_from(["STOP", "bb", "é", "P\n"])),
)
def test_the_pieces_are_the_text_up_to_its_first_stop(text: str, sizes: list[int], stops: list[str]) -> None:
    tokens = TOKENIZER.encode(text, add_special_tokens=False)
    reply = ReplyText(TOKENIZER, stops)
    pieces: list[str] = []
    sizes = [*sizes, len(tokens) + 1]
    while tokens or not pieces:
        size = sizes.pop(0)
        part, tokens = tokens[:size], tokens[size:]
        pieces.append(reply.push(part, is_last=not tokens))
    # A stop that another one overlaps is found in the order in which it is completed, as the decoder stops.
    shown = "".join(pieces)
    assert shown == _cut(text, stops) or any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert not any("\ufffd" in piece for piece in pieces)


@given(tokens=st.lists(st.integers(3, 258), max_size=30))
def test_bytes_that_are_no_text_come_out_as_in_one_decoding(tokens: list[int]) -> None:
    reply = ReplyText(TOKENIZER, [])
    shown = "".join(reply.push([token], is_last=False) for token in tokens) + reply.push([], is_last=True)
    assert shown == decode(TOKENIZER, tokens)


def test_text_that_may_begin_a_stop_is_held_until_it_is_clear() -> None:
    reply = ReplyText(TOKENIZER, ["STOP"])
    shown = [reply.push(TOKENIZER.encode(letter), is_last=False) for letter in "aSTSTb"]
    assert shown == ["a", "", "", "ST", "", "STb"]
    assert reply.push(TOKENIZER.encode("ST"), is_last=True) == "ST"


@pytest.mark.parametrize("text", ["a", " ", "\n", "é", "€", "🎬"])
def test_the_bytes_of_tokens_are_those_of_their_text(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert b"".join(token_bytes(TOKENIZER, i) for i in ids) == text.encode()


def test_every_byte_has_its_token_and_a_control_token_its_name() -> None:
    assert {token_bytes(TOKENIZER, i) for i in range(3, 259)} == {bytes([byte]) for byte in range(256)}
    assert token_bytes(TOKENIZER, 2) == b"<|im_end|>"
