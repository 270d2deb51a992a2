from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from harness.errors import InputError
from harness.stats import proportion_estimate, wilson_interval


@given(hits=st.integers(0, 50), extra=st.integers(0, 50), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_against_statsmodels(hits: int, extra: int, level: float) -> None:
    trials = max(1, hits + extra)
    theirs = proportion_confint(hits, trials, alpha=1 - level, method="wilson")
    ours = wilson_interval(hits, trials, level=level)
    assert (ours.low, ours.high) == pytest.approx((theirs[0], theirs[1]), abs=1e-12)


def test_independent_rows_by_hand() -> None:
    # 6 of 20, a row a cluster: se = √(0.3 · 0.7 / 19), t with 19 degrees of freedom, on the logit scale; widened by
    # γ² = (1 − 2p)² / (n p (1 − p)) = 0.16 / 4.2
    estimate = proportion_estimate([1] * 6 + [0] * 14, clusters=range(20))
    half = student.ppf(0.975, 19) * np.sqrt(0.21 / 19) / 0.21 * (1 + 0.16 / 4.2)
    assert (estimate.low, estimate.high) == pytest.approx((expit(logit(0.3) - half), expit(logit(0.3) + half)))


def test_no_hit_at_all_is_clopper_pearson_over_clusters() -> None:
    estimate = proportion_estimate(np.zeros(60), clusters=np.arange(60) // 5)
    theirs = binomtest(0, 12).proportion_ci(0.95, method="exact")
    assert (estimate.low, estimate.high) == pytest.approx((theirs.low, theirs.high))
    assert any("one trial" in note for note in estimate.notes)


@given(hits=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=40))
def test_the_complement_mirrors_the_interval(hits: list[float]) -> None:
    clusters = np.arange(len(hits)) // 2
    one = proportion_estimate(hits, clusters=clusters)
    other = proportion_estimate(1 - np.array(hits), clusters=clusters)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))
    assert 0 <= one.low <= one.value <= one.high <= 1


def test_a_rare_rate_in_few_clusters_carries_a_warning() -> None:
    hits = np.zeros(100)
    hits[:3] = 1
    assert "rare in 10 clusters" in proportion_estimate(hits, clusters=np.arange(100) % 10).notes[0]
    assert proportion_estimate(hits, clusters=np.arange(100) % 25).notes == ()


def test_one_cluster_and_values_that_are_no_shares() -> None:
    assert proportion_estimate([0, 1], clusters=["a", "a"]).low is None
    with pytest.raises(InputError, match="compare with a threshold"):
        proportion_estimate([3, 4], clusters=[1, 2])
    with pytest.raises(InputError, match="between 0 and `trials`"):
        wilson_interval(3, 2)
