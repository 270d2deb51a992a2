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
from harness.stats import log_odds_ratio, proportion_estimate, wilson_interval
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


def test_values_that_are_no_shares_are_refused() -> None:
    with pytest.raises(InputError, match="compare with a threshold"):
        proportion_estimate([3, 4], clusters=[1, 2])
    with pytest.raises(InputError, match="between 0 and `trials`"):
        wilson_interval(3, 2)


PAIRS = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=8, max_size=40)


def test_log_odds_by_hand() -> None:
    # 3 of 4 against 1 of 4: log 3 − log(1/3) = 2.1972; four clusters of one row
    found = log_odds_ratio([1, 1, 1, 0], [1, 0, 0, 0], clusters=list("abcd"))
    assert found.value == pytest.approx(2 * np.log(3))
    # linearised pulls (x − p) / (p (1 − p)) / n: first (.25,.25,.25,−.75)/.1875/4, second (.75,−.25,−.25,−.25)/.1875/4
    pulls = (np.array([0.25, 0.25, 0.25, -0.75]) - np.array([0.75, -0.25, -0.25, -0.25])) / 0.1875 / 4
    assert found.se == pytest.approx(np.sqrt(4 / 3 * np.sum(pulls**2)))
    assert (found.df, found.n, found.n_clusters) == (3.0, 4, 4)


def test_against_statsmodels_cluster_robust_logit() -> None:
    """The saturated logistic model of side with cluster-robust errors, times √(G / (G − 1))."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    clusters = rng.integers(0, 9, size=80)
    lift = rng.normal(size=9)[clusters]
    one = (rng.random(80) < 1 / (1 + np.exp(-lift))).astype(float)
    two = (rng.random(80) < 0.3).astype(float)
    x = np.column_stack([np.ones(160), np.r_[np.ones(80), np.zeros(80)]])
    fit = sm.GLM(np.r_[one, two], x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": np.r_[clusters, clusters], "use_correction": False}
    )
    found = log_odds_ratio(one, two, clusters=clusters)
    assert found.value == pytest.approx(fit.params[1], abs=1e-8)
    assert found.se == pytest.approx(fit.bse[1] * np.sqrt(9 / 8), rel=1e-6)


@given(PAIRS)
def test_swapping_the_texts_turns_the_sign(table: list[tuple[bool, bool, int]]) -> None:
    one, two, clusters = zip(*table, strict=True)
    there, back = log_odds_ratio(one, two, clusters=clusters), log_odds_ratio(two, one, clusters=clusters)
    assert there.value == pytest.approx(-back.value, abs=1e-9)
    assert (there.se is None) == (back.se is None)
    if there.se is not None and back.se is not None:
        assert there.se == pytest.approx(back.se, abs=1e-9)


def test_a_feature_that_one_side_never_has_is_corrected_and_says_so() -> None:
    found = log_odds_ratio([1, 1, 0, 1], [0, 0, 0, 0], clusters=list("abcd"))
    assert found.value == pytest.approx(np.log(3.5 / 1.5) - np.log(0.5 / 4.5))
    assert any("half a row" in note for note in found.notes)
    assert np.isfinite(ends(found)).all()


@pytest.mark.parametrize("bad", [[0.5, 1.0], [2, 0], [-1, 0]])
def test_anything_but_0_and_1_is_refused(bad: list[float]) -> None:
    with pytest.raises(InputError, match="must be 0 or 1 in every row"):
        log_odds_ratio(bad, [0, 1], clusters=["a", "b"])


def test_coverage_of_the_true_log_odds_ratio() -> None:
    """400 draws of 20 clusters with a cluster effect that both texts share; nominal 95 %."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        clusters = np.repeat(np.arange(20), 6)
        shared = rng.normal(scale=0.5, size=20)[clusters]
        one, two = ((rng.random(120) < 1 / (1 + np.exp(-(shared + at)))).astype(float) for at in (0.8, 0.0))
        found = log_odds_ratio(one, two, clusters=clusters)
        # the marginal odds, averaged over the cluster effect
        grid = np.random.default_rng(1).normal(scale=0.5, size=20000)
        p, q = (np.mean(1 / (1 + np.exp(-(grid + at)))) for at in (0.8, 0.0))
        truth = np.log(p / (1 - p)) - np.log(q / (1 - q))
        hits += found.low is not None and found.high is not None and found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98
