from __future__ import annotations

import numpy as np
import pytest
from certain import ends
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import log_odds_ratio

rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=8, max_size=40)


def test_by_hand() -> None:
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


@given(rows)
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
