"""Held-out loss against a model whose loss is known by hand."""

from __future__ import annotations

import math

import pytest
from fakes import UniformModel

from harness.errors import UnavailableError
from harness.measures.heldout import HeldoutLoss, heldout_losses
from harness.types import Message, Prompt


def _prompt(reference: str | None) -> Prompt:
    return Prompt(
        id=f"p-{reference}",
        messages=(Message(role="user", content="Where?"),),
        split="test",
        cluster="f",
        reference=reference,
    )


def test_bits_per_byte_of_a_uniform_model() -> None:
    [row] = heldout_losses(UniformModel(), [_prompt("café")])
    # five bytes and the end, each log2(257) bits, over five bytes
    assert row.bits_per_byte == pytest.approx(6 / 5 * math.log2(257))
    assert row.nats_per_token == pytest.approx(math.log(257))
    assert (row.n_bytes, row.n_tokens) == (5, 6)


@pytest.mark.parametrize("reference", [None, "", "  \n"])
def test_an_empty_reference_is_missing(reference: str | None) -> None:
    first, row = heldout_losses(UniformModel(), [_prompt("Here."), _prompt(reference)])
    assert first.bits_per_byte is not None
    assert row == HeldoutLoss(
        prompt_id=f"p-{reference}",
        cluster="f",
        bits_per_byte=None,
        nats_per_token=None,
        total_bits=None,
        n_bytes=0,
        n_tokens=0,
    )


def test_a_model_without_exact_probabilities_is_refused() -> None:
    with pytest.raises(UnavailableError, match="needs a model with `continuation_logprobs`"):
        heldout_losses(UniformModel(supports=frozenset({"generate"})), [_prompt("Here.")])
