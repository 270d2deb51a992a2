from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.errors import InputError
from harness.stats import wilcoxon


@given(differences=st.lists(st.integers(-5, 5), min_size=3, max_size=40).filter(any))
def test_one_row_a_cluster_against_scipy_with_ties(differences: list[int]) -> None:
    theirs = stats.wilcoxon(differences, method="asymptotic", correction=False)  # type: ignore[call-overload]
    ours = wilcoxon(differences, np.zeros(len(differences)), clusters=range(len(differences)))
    assert ours.p_value == pytest.approx(theirs.pvalue)


def test_effect_by_hand() -> None:
    # |d| 1, 2, 3, 4 ranks 1–4, signs + − + +: (1 − 2 + 3 + 4) / 10
    result = wilcoxon([1, 0, 3, 4], [0, 2, 0, 0], clusters=[1, 2, 3, 4])
    assert result.estimate.value == pytest.approx(0.6)
    assert -1 < result.estimate.low < 0.6 < result.estimate.high < 1


def test_swap_and_monotone_laws() -> None:
    rng = np.random.default_rng(0)
    a, b, clusters = rng.normal(size=30), rng.normal(size=30), np.arange(30) // 3
    one, other = wilcoxon(a, b, clusters=clusters), wilcoxon(b, a, clusters=clusters)
    assert one.estimate.value == pytest.approx(-other.estimate.value)
    assert one.p_value == pytest.approx(other.p_value)


def test_ties_are_counted_and_all_ties_refused() -> None:
    result = wilcoxon([1, 2, 3, 5], [1, 1, 1, 6], clusters=[1, 2, 3, 4])
    assert result.estimate.notes == ("1 ties left out of the ranks",)
    with pytest.raises(InputError, match="all ties"):
        wilcoxon([1, 2], [1, 2], clusters=[1, 2])


def test_one_cluster_and_one_direction_give_no_interval() -> None:
    assert wilcoxon([1, 2], [0, 0], clusters=["a", "a"]).p_value is None
    assert wilcoxon([1, 2], [0, 0], clusters=["a", "b"]).estimate.low is None


def test_type_one_error_with_clusters() -> None:
    rng = np.random.default_rng(1)
    n_draws, n_false, naive = 1_000, 0, 0
    for _ in range(n_draws):
        clusters = np.arange(100) // 5
        values = rng.normal(size=20)[clusters] + rng.normal(size=100)
        n_false += wilcoxon(values, np.zeros(100), clusters=clusters).p_value < 0.05
        naive += stats.wilcoxon(values, method="asymptotic").pvalue < 0.05  # type: ignore[call-overload]
    assert n_false / n_draws <= 0.06 + 0.02
    assert naive / n_draws > 0.15
