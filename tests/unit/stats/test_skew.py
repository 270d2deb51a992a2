from __future__ import annotations

import numpy as np
import pytest
from certain import ends, sure
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.weightstats import DescrStatsW

from harness.stats import contrast_of_differences, verdict, within_range
from harness.stats.intervals import equivalence_ends, skewness
from harness.stats.verdicts import equivalence_interval


def test_skewness_by_hand() -> None:
    # residuals −1 −1 2: Σ e³ = 6, Σ e² = 6
    assert skewness(np.array([-1.0, -1, 2])) == pytest.approx(6 / 6**1.5)
    assert skewness(np.zeros(3)) == 0
    assert skewness(np.array([1e-160, -1e-160])) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_symmetric_differences_are_tested_as_statsmodels_tests_them(seed: int) -> None:
    half = np.random.default_rng(seed).normal(size=15)
    values = 0.1 + np.concatenate([half, -half])
    ours = equivalence_interval(contrast_of_differences(values, clusters=range(30)).estimate)
    assert (sure(ours).low, sure(ours).high) == pytest.approx(DescrStatsW(values).tconfint_mean(alpha=0.1))


@settings(max_examples=60, deadline=None)
@given(gamma=st.floats(-5, 5), n=st.integers(2, 200), df=st.floats(1, 300), se=st.floats(1e-9, 1e6))
def test_the_ends_hold_the_t_interval_and_turn_with_the_sign(gamma: float, n: int, df: float, se: float) -> None:
    low, high = equivalence_ends(1.0, se, df, gamma=gamma, n_clusters=n, level=0.95)
    plain = equivalence_ends(1.0, se, df, gamma=0.0, n_clusters=n, level=0.95)
    assert low <= plain[0] < 1 < plain[1] <= high
    turned = equivalence_ends(-1.0, se, df, gamma=-gamma, n_clusters=n, level=0.95)
    assert (-turned[1], -turned[0]) == pytest.approx((low, high))


def test_a_lopsided_sum_is_not_called_equivalent_where_a_symmetric_one_is() -> None:
    values = np.array([-0.06] * 11 + [0.5])  # one film in twelve carries what may be more in others
    test = contrast_of_differences(values, clusters=range(12))
    t_half = 1.795885 * sure(test.estimate.se)
    margin = test.estimate.value + t_half + 0.01  # two t tests would pass
    found = verdict(test, better="higher", smallest_effect=margin, p_adjusted=test.p_value)
    assert found.label == "inconclusive"


def test_a_difference_of_rates_stays_between_minus_one_and_one() -> None:
    test = contrast_of_differences([-1.0, 0, -1, 0.2], clusters=[1, 2, 3, 4])
    assert ends(test.estimate)[0] < -1
    kept = within_range(test.estimate, low=-1, high=1)
    assert (kept.low, kept.high, kept.value) == (-1, test.estimate.high, test.estimate.value)
    assert "cut" in kept.notes[-1]
    assert within_range(kept, low=-1, high=1) is kept
