from __future__ import annotations

import numpy as np
import pytest
from certain import ends
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from harness import stats
from harness.errors import InputError
from harness.stats import proportion_estimate, wilson_interval
from harness.types import Estimate


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
    assert ends(one) == pytest.approx((1 - ends(other)[1], 1 - ends(other)[0]))
    assert 0 <= ends(one)[0] <= one.value <= ends(one)[1] <= 1


def shares(hits: np.ndarray, others: np.ndarray, films: np.ndarray, raters: np.ndarray) -> list[Estimate]:
    """Every share in [0, 1] that the statistics give of such rows."""
    sides = (["a"] * len(hits), ["b"] * len(hits), np.where(hits == 1, "left", np.where(hits == 0, "right", "tie")))
    found = [
        stats.proportion_estimate(hits, clusters=films),
        stats.crossed_share(hits, first=raters, second=films, names=("rater", "film")),
        stats.concordance(hits, others, clusters=films),
        stats.roc_auc(hits, others, positive_clusters=films, negative_clusters=films),
        stats.repeatability(hits, others, clusters=films),
    ]
    if set(hits) != {0.5}:
        win = stats.win_rate(stats.read_votes(*sides, clusters=films, raters=raters), "a", "b")
        found += [win.decisive, win.naive, win.ties, win.both_bad, *([win.people] if win.people else [])]
    return found


def differences(hits: np.ndarray, others: np.ndarray, films: np.ndarray) -> list[Estimate]:
    """Every difference of shares, in [−1, 1]."""
    marks = {"x": hits, "y": others, "z": others[::-1]}
    judged = stats.alternative_annotator(hits, marks, clusters=films, epsilon=0.1, min_items=2)
    values, arms = np.concatenate([hits, others, others[::-1]]), np.repeat([0, 1, 2], len(hits))
    page = stats.page_trend(
        values, arms.tolist(), [0, 1, 2], clusters=np.tile(films, 3), rng=np.random.default_rng(0), n_permutations=1_000
    )
    return [
        page.estimate,
        *(test.advantage for test in judged.tests),
    ]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 2, st.integers(0, 3), st.integers(0, 2)),
        min_size=2,
        max_size=16,
    )
)
def test_no_interval_of_a_share_leaves_what_a_share_can_be(rows: list[tuple[float, float, int, int]]) -> None:
    hits, others, films, raters = (np.array(column) for column in zip(*rows, strict=True))
    every = [(0, one) for one in shares(hits, others, films, raters)]
    every += [(-1, one) for one in differences(hits, others, films)]
    for least, estimate in every:
        if estimate.low is not None and estimate.high is not None:
            assert least <= estimate.low <= estimate.high <= 1, estimate
        else:
            assert estimate.notes, estimate


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
