from __future__ import annotations

import numpy as np
import pytest
from certain import ends, rng
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import InputError
from harness.stats import kendall_within, pearson, spearman


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 40))
def test_values_against_scipy_with_ties(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    x = np.append(generator.integers(1, 6, size=n), [1, 5])
    y = np.append(generator.integers(1, 6, size=n), [1, 4])
    clusters = np.arange(n + 2)
    assert spearman(x, y, clusters=clusters, rng=rng(), n_resamples=100).value == pytest.approx(
        stats.spearmanr(x, y).statistic
    )
    assert pearson(x, y, clusters=clusters, rng=rng(), n_resamples=100).value == pytest.approx(
        stats.pearsonr(x, y).statistic
    )


def test_the_bootstrap_error_against_resampling_rows_with_scipy() -> None:
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(15), 4)
    x = generator.integers(1, 6, size=60)
    y = x + generator.integers(-2, 3, size=60)
    draws = []
    for _ in range(1_000):
        taken = np.concatenate([np.flatnonzero(clusters == g) for g in generator.integers(15, size=15)])
        draws.append(stats.spearmanr(x[taken], y[taken]).statistic)
    estimate = spearman(x, y, clusters=clusters, rng=rng())
    assert estimate.se == pytest.approx(np.std(draws), rel=0.1)
    low, high = ends(estimate)
    assert -1 < low < estimate.value < high < 1


def test_turning_one_side_turns_the_interval() -> None:
    generator = np.random.default_rng(2)
    x, y, clusters = generator.normal(size=30), generator.normal(size=30), np.arange(30) // 3
    one = spearman(x, y, clusters=clusters, rng=rng())
    other = spearman(x, -y, clusters=clusters, rng=rng())
    assert (ends(one)[0], one.value) == pytest.approx((-ends(other)[1], -other.value))
    assert spearman(y, x, clusters=clusters, rng=rng()).value == pytest.approx(one.value)
    assert spearman(np.exp(x), y, clusters=clusters, rng=rng()) == one


def test_without_spread_there_is_no_interval() -> None:
    assert spearman([1, 2, 3], [1, 2, 3], clusters=[1, 2, 3], rng=rng()).notes == ("perfect correlation: no interval",)
    with pytest.raises(InputError, match="must vary"):
        spearman([1, 1, 1], [1, 2, 3], clusters=[1, 2, 3], rng=rng())


def test_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(3)
    n_draws, hits = 400, 0
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman of a bivariate normal with correlation 0.6
    for _ in range(n_draws):
        x = generator.normal(size=60)
        y = 0.6 * x + 0.8 * generator.normal(size=60)
        estimate = spearman(x, y, clusters=np.arange(60) // 3, rng=generator, n_resamples=300)
        hits += bool(estimate.low <= truth <= estimate.high)
    assert 0.93 - 0.035 <= hits / n_draws <= 0.985


def test_kendall_within_is_the_mean_of_what_scipy_gives_for_each_cluster() -> None:
    x = [1, 2, 3, 4, 1, 2, 2, 5, 5, 5]
    y = [1, 3, 2, 4, 3, 1, 1, 1, 2, 3]
    clusters = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]  # in the third, x does not vary: it is left out
    found = kendall_within(x, y, clusters=clusters)
    expected = [stats.kendalltau(x[a:b], y[a:b]).statistic for a, b in ((0, 4), (4, 7))]
    assert found.value == pytest.approx(np.mean(expected))
    assert found.n == 2
    with pytest.raises(InputError, match="both sides vary"):
        kendall_within([1, 1, 1], [1, 2, 3], clusters=[0, 0, 0])
