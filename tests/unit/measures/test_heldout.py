"""Held-out loss against a model whose loss is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from certain import holds
from fakes import UniformModel
from nouns import prompt

from harness.errors import UnavailableError
from harness.measures.heldout import as_mean, heldout_losses
from harness.stats.paired import contrast_of_differences
from harness.types import Prompt


def _prompt(reference: str | None) -> Prompt:
    return prompt(f"p-{reference}", reference=reference)


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
    assert (row.bits_per_byte, row.nats_per_token, row.total_bits, row.n_bytes, row.n_tokens) == (
        None,
        None,
        None,
        0,
        0,
    )


def test_a_model_without_exact_probabilities_is_refused() -> None:
    with pytest.raises(UnavailableError, match="needs a model with `continuation_logprobs`"):
        heldout_losses(UniformModel(supports=frozenset({"generate"})), [_prompt("Here.")])


# ── weighed by bytes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_total_over_bytes_is_a_mean_of_linearised_rows_with_the_error_of_a_ratio() -> None:
    """Against statsmodels' and Cochran's formula: se² = Σ_g (Σ_i x − R·w)² / (Σ w)², clusters alone."""
    rng = np.random.default_rng(5)
    clusters, sizes = np.repeat(np.arange(12), 6), rng.integers(1, 90, 72).astype(float)
    bits = sizes * (1.4 + 0.1 * rng.normal(size=72) + 0.2 * np.repeat(rng.normal(size=12), 6))
    rows = as_mean(bits, sizes)
    ratio = bits.sum() / sizes.sum()
    found = contrast_of_differences(rows, clusters=clusters).estimate
    assert found.value == pytest.approx(ratio, abs=1e-12)
    of_cluster = np.bincount(clusters, weights=bits - ratio * sizes)
    assert found.se == pytest.approx(np.sqrt((of_cluster**2).sum() * 12 / 11) / sizes.sum(), rel=1e-9)
    other = bits + 3.0
    difference = contrast_of_differences(as_mean(other, sizes) - rows, clusters=clusters).estimate
    assert difference.value == pytest.approx(other.sum() / sizes.sum() - ratio, abs=1e-12)


def test_a_reply_that_is_missing_leaves_the_total_of_the_others() -> None:
    rows = as_mean(np.array([3.0, np.nan, 9.0]), np.array([2.0, 0.0, 4.0]))
    assert np.isnan(rows[1])
    assert np.nanmean(rows) == pytest.approx(2.0)


@pytest.mark.slow
def test_the_interval_of_the_total_covers_as_it_says() -> None:
    """Nominal 95 %: skewed byte counts, twenty films; a ratio that took its denominator as fixed would err."""
    rng, hits, n = np.random.default_rng(11), 0, 2000
    for _ in range(n):
        clusters, sizes = np.repeat(np.arange(20), 5), np.ceil(rng.lognormal(3.3, 0.9, 100))
        bits = sizes * (1.4 + 0.1 * np.repeat(rng.normal(size=20), 5)) + 6 + 2 * rng.normal(size=100)
        truth = 1.4 + 6 / (np.exp(3.3 + 0.9**2 / 2) + 0.5)  # rounded up: half a byte more
        estimate = contrast_of_differences(as_mean(bits, sizes), clusters=clusters).estimate
        hits += holds(estimate, truth)
    assert 0.92 <= hits / n <= 0.97
