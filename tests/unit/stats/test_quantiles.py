from __future__ import annotations

import numpy as np
import pytest
from certain import ends
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import quantile_estimate
from harness.stats.quantiles import interpolated_quantiles


@given(seed=st.integers(0, 1000), n=st.integers(2, 60), probability=st.floats(0.05, 0.95))
def test_value_against_numpy_inverted_cdf(seed: int, n: int, probability: float) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    estimate = quantile_estimate(values, probability, clusters=range(n))
    assert estimate.value == np.quantile(values, round(probability, 12), method="inverted_cdf")
    assert ends(estimate)[0] <= estimate.value <= ends(estimate)[1]


def test_increasing_scales_carry_the_interval_along() -> None:
    values = np.random.default_rng(1).normal(size=80)
    clusters = np.arange(80) // 4
    one = quantile_estimate(values, 0.25, clusters=clusters)
    other = quantile_estimate(np.exp(values), 0.25, clusters=clusters)
    assert np.exp(ends(one)) == pytest.approx(ends(other))


def test_the_far_tail_of_few_rows_says_that_its_interval_is_cut() -> None:
    estimate = quantile_estimate(np.arange(12.0), 0.05, clusters=np.arange(12))
    assert estimate.low == 0
    assert "too few clusters" in estimate.notes[0]


def test_one_cluster_and_impossible_probabilities() -> None:
    assert quantile_estimate([1, 2, 3], 0.5, clusters=["a"] * 3).low is None
    with pytest.raises(InputError, match="between 0 and 1"):
        quantile_estimate([1, 2, 3], 10, clusters=[1, 2, 3])


@given(values=st.lists(st.floats(-9, 9), min_size=2, max_size=30), q=st.floats(0, 1))
def test_interpolated_quantiles_by_hand(values: list[float], q: float) -> None:
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 2)
    expected = ordered[below] + (position - below) * (ordered[below + 1] - ordered[below])
    assert interpolated_quantiles(ordered, [q]) == pytest.approx((expected,), abs=1e-12)
