from __future__ import annotations

import math

import numpy as np
import pytest
from certain import ends, holds, rng
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats import mean_estimate


def test_against_a_bootstrap_written_out_row_by_row() -> None:
    # the same method without sums: resample clusters, take rows, studentise by the clustered standard error
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(10), generator.integers(2, 9, size=10))
    values = generator.exponential(size=len(clusters)) + generator.normal(size=10)[clusters] / 2

    def mean_and_se(drawn: list[np.ndarray]) -> tuple[float, float]:
        mean = np.concatenate(drawn).mean()
        return mean, math.sqrt(sum(((part - mean).sum()) ** 2 for part in drawn)) / sum(map(len, drawn))

    groups = [values[clusters == g] for g in range(10)]
    mean, se = mean_and_se(groups)
    distances = []
    for _ in range(4_000):
        drawn_mean, drawn_se = mean_and_se([groups[g] for g in generator.integers(10, size=10)])
        distances.append(abs(drawn_mean - mean) / drawn_se)
    half = float(np.quantile(distances, 0.95)) * se
    estimate = mean_estimate(values, clusters=clusters, rng=rng())
    assert estimate.value == pytest.approx(mean)
    assert ends(estimate)[1] - estimate.value == pytest.approx(half, rel=0.08)  # two Monte Carlo quantiles
    assert estimate.value == pytest.approx(sum(ends(estimate)) / 2)


@settings(max_examples=30)
@given(scale=st.floats(0.01, 100), shift=st.floats(-1e4, 1e4), seed=st.integers(0, 1000))
def test_rescaling_and_permuting_rows(scale: float, shift: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(7), [3, 1, 4, 1, 5, 9, 2])
    values = generator.normal(size=25)
    order = generator.permutation(25)
    one = mean_estimate(values, clusters=clusters, rng=rng(), n_resamples=500)
    other = mean_estimate((scale * values + shift)[order], clusters=clusters[order], rng=rng(), n_resamples=500)
    assert other.value == pytest.approx(scale * one.value + shift, rel=1e-6, abs=1e-6)
    assert other.low == pytest.approx(scale * ends(one)[0] + shift, rel=1e-4, abs=1e-4 * scale)


def test_constant_values_give_a_degenerate_interval_that_says_so() -> None:
    estimate = mean_estimate([0.1] * 30, clusters=list(range(10)) * 3, rng=rng())
    assert estimate.low == estimate.high == estimate.value == pytest.approx(0.1)
    assert estimate.se == 0
    assert "no variance" in estimate.notes[0]


@pytest.mark.parametrize("n_clusters", [2, 3, 4])
def test_a_handful_of_clusters_is_not_resampled(n_clusters: int) -> None:
    estimate = mean_estimate(np.arange(12.0), clusters=np.arange(12) % n_clusters, rng=rng())
    assert "CR2" in estimate.method
    assert math.isfinite(ends(estimate)[0])
    assert "too few" in estimate.notes[0]


def test_a_level_beyond_what_resampling_can_tell_is_not_infinite() -> None:
    estimate = mean_estimate(np.arange(10.0), clusters=np.arange(10) % 5, rng=rng(), level=0.9999)
    assert math.isfinite(ends(estimate)[0])


def test_a_rare_event_in_one_cluster_stays_finite() -> None:
    values = np.zeros(80)
    values[3] = 1
    estimate = mean_estimate(values, clusters=np.arange(80) // 10, rng=rng())
    assert holds(estimate, 0.0125)
    assert math.isfinite(ends(estimate)[1])
