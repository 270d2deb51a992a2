"""How an adapter is asked: with the newest turns that its training windows had room for."""

from __future__ import annotations

import functools
from typing import Any, get_args

from fakes import tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models.chat_templates import render
from harness.models.contracts import contract_of, render_as_trained, told
from harness.types import Quantization

tokenizer = functools.cache(tiny_tokenizer)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(max_size=12), min_size=1, max_size=12),
    st.none() | st.text(max_size=8),
    st.none() | st.integers(1, 300),
)
def test_the_newest_turns_that_fit_are_asked_and_no_fewer(texts: list[str], system: str | None, window: Any) -> None:
    lead = [] if system is None else [{"role": "system", "content": system}]
    turns = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(reversed(texts))][::-1]
    contract = contract_of(tokenizer(), system=system, max_tokens=window, quantization=None)
    asked = render_as_trained(tokenizer(), [*lead, *turns], contract)
    suffixes = [render(tokenizer(), [*lead, *turns[first:]]) for first in range(len(turns))]
    fitting = [ids for ids in suffixes if window is None or len(ids) < window]
    assert asked == (fitting[0] if fitting else suffixes[-1])


def test_what_is_not_kept_is_said() -> None:
    trained = contract_of(tokenizer(), system=None, max_tokens=512, quantization="nf4")
    said = {
        quantization: told({"a": trained}, brings_system=True, cuts=quantization == "nf4", quantization=quantization)
        for quantization in get_args(Quantization)
    }
    assert said["nf4"] == ["a: a longer chat loses its oldest turns: 512 tokens, what it was trained on"]
    assert said["none"] == [
        "a: chats are not cut to 512 tokens, what it was trained on; "
        "trained on its base in 4 bits (NF4), asked in full precision"
    ]
