from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from certain import ends, holds
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from harness.stats import concordance, roc_auc
from harness.types import Estimate

SCORES = st.lists(st.integers(1, 5), min_size=2, max_size=30)


def auc(high: Any, low: Any, **options: Any) -> Estimate:
    return roc_auc(high, low, positive_clusters=range(len(high)), negative_clusters=range(len(low)), **options)


@given(high=SCORES, low=SCORES)
def test_value_against_sklearn_with_ties(high: list[int], low: list[int]) -> None:
    theirs = roc_auc_score([1] * len(high) + [0] * len(low), high + low)
    assert auc(high, low).value == pytest.approx(theirs)


def delong_se(high: np.ndarray, low: np.ndarray) -> float:
    """DeLong, DeLong & Clarke-Pearson (1988), written out over all pairs."""
    psi = (np.sign(high[:, None] - low[None, :]) + 1) / 2
    return float(np.sqrt(psi.mean(axis=1).var(ddof=1) / len(high) + psi.mean(axis=0).var(ddof=1) / len(low)))


def test_independent_rows_against_delong() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.normal(1, 1, 40), rng.normal(0, 1, 55)
    estimate = roc_auc(
        high, low, positive_clusters=[f"p{i}" for i in range(40)], negative_clusters=[f"n{i}" for i in range(55)]
    )
    assert estimate.se == pytest.approx(delong_se(high, low))
    assert estimate.df == 39


def test_clustered_error_against_a_cluster_jackknife() -> None:
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(60), 4)
    film = rng.normal(size=60)[clusters]
    high, low = rng.normal(1, 1, 240) + film, rng.normal(0, 1, 240) + film
    estimate = roc_auc(high, low, positive_clusters=clusters, negative_clusters=clusters)
    left_out = [roc_auc_score([1] * 236 + [0] * 236, [*high[clusters != g], *low[clusters != g]]) for g in range(60)]
    jackknife = np.sqrt(59 * np.var(left_out))
    assert estimate.se == pytest.approx(jackknife, rel=0.05)
    assert holds(estimate)


@given(high=SCORES, low=SCORES)
def test_swapping_sides_mirrors_the_interval(high: list[int], low: list[int]) -> None:
    one, other = auc(high, low), auc(low, high)
    assert one.value == pytest.approx(1 - other.value)
    assert ends(one) == pytest.approx((1 - ends(other)[1], 1 - ends(other)[0]))
    assert 0 <= ends(one)[0] <= one.value <= ends(one)[1] <= 1


def test_any_increasing_scale_gives_the_same_result() -> None:
    rng = np.random.default_rng(3)
    high, low = rng.normal(1, 1, 20), rng.normal(0, 1, 20)
    assert auc(np.exp(high), np.exp(low)) == auc(high, low)


def test_perfect_separation_is_as_sure_as_its_clusters_are_many() -> None:
    estimate = auc([3, 4, 5, 6], [0, 1, 2, 1])
    assert (estimate.value, estimate.high) == (1, 1)
    assert estimate.low == pytest.approx(0.025 ** (1 / 4))  # four of four, Clopper–Pearson
    assert "one trial" in estimate.notes[0]


def test_a_constant_score_discriminates_nothing_and_is_not_sure_of_it() -> None:
    estimate = auc([1] * 20, [1] * 20)
    assert estimate.value == 0.5
    assert holds(estimate, 0.3)
    assert holds(estimate, 0.7)


def test_one_cluster_gives_no_interval() -> None:
    one = roc_auc([1, 2], [0, 1], positive_clusters=["a", "a"], negative_clusters=["a", "b"])
    assert (one.low, one.high, one.n, one.n_clusters) == (None, None, 4, 2)


def test_concordance_by_hand() -> None:
    estimate = concordance([1, 2, 3, 4], [0, 2, 5, 1], clusters=[1, 2, 3, 4])  # win, tie, loss, win
    assert estimate.value == pytest.approx(2.5 / 4)
    assert 0 < ends(estimate)[0] < estimate.value < ends(estimate)[1] < 1


def test_all_pairs_right_counts_clusters_not_pairs() -> None:
    estimate = concordance(np.ones(60), np.zeros(60), clusters=np.arange(60) // 10)
    assert estimate.low == pytest.approx(0.025 ** (1 / 6))
