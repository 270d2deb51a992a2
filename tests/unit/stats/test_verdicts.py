from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from certain import ends, sure
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from harness.errors import InputError
from harness.stats import (
    TestResult,
    adjust,
    clusters_to_settle,
    contrast_of_differences,
    smallest_effect_in_units,
    verdict,
    within_range,
)
from harness.stats.intervals import equivalence_ends, skewness, t_p_value
from harness.stats.outcomes import t_estimate, t_test
from harness.stats.verdicts import equivalence_interval
from harness.types import Direction, SmallestEffect, Verdict


def effect(value: float, *, se: float = 0.1, n_clusters: int = 41) -> TestResult:
    return t_test(t_estimate(value, se, n_clusters - 1.0, n=200, n_clusters=n_clusters, level=0.95, method="t"))


def judge(
    test: TestResult, *, better: Direction = "higher", smallest: float | None = 0.2, **options: object
) -> Verdict:
    arguments: dict[str, Any] = {"p_adjusted": test.p_value} | options
    return verdict(test, better=better, smallest_effect=smallest, **arguments)


def test_labels_follow_sign_and_direction() -> None:
    assert judge(effect(0.5)).label == "better"
    assert judge(effect(-0.5)).label == "worse"
    assert judge(effect(-0.5), better="lower").label == "better"
    assert judge(effect(0.5), better="lower").label == "worse"


def test_the_reason_says_whether_the_difference_surely_matters() -> None:
    assert "at least 0.2" in judge(effect(0.5)).reason  # 0.5 ± 0.2 lies beyond 0.2
    assert "may be smaller than 0.2" in judge(effect(0.3)).reason  # 0.3 ± 0.2 does not
    assert "no smallest effect" in judge(effect(0.5), smallest=None).reason


def test_equivalence_is_two_one_sided_tests_and_wins_over_a_difference_too_small_to_matter() -> None:
    assert judge(effect(0.0), smallest=0.17).label == "equivalent"  # 90 % interval ± 0.168
    assert judge(effect(0.0), smallest=0.16).label == "inconclusive"
    tiny = judge(effect(0.05, se=0.01), smallest=0.2)
    assert tiny.label == "equivalent"
    assert "does differ from 0" in tiny.reason


def test_clusters_without_any_difference_are_no_proof_of_equivalence() -> None:
    """Twelve films in which nothing differs leave a quarter of all films unseen (0.05 ** (1 / 12) = 0.78)."""
    none = contrast_of_differences([0.0] * 24, clusters=[i // 2 for i in range(24)])
    said = judge(none, smallest=0.05)
    assert said.label == "inconclusive"
    assert "how far others would scatter is not known" in said.reason
    assert said.settle == "More clusters would show whether any of them differs."


def test_an_interval_within_the_smallest_effect_that_is_not_equivalent_says_why() -> None:
    """Three seeds, skewed films: [−0.018, +0.019] against 0.02, the ends of the two tests at −0.012 and +0.031."""
    test = effect(0.0005, se=0.009)
    skewed = replace(test, estimate=replace(test.estimate, equivalence=(-0.012, 0.031)))
    said = judge(skewed, smallest=0.02)
    assert said.label == "inconclusive"
    assert said.reason.startswith("The interval lies within 0.02")
    assert "skewed" in said.reason


def test_equivalence_against_statsmodels_tost() -> None:
    rng = np.random.default_rng(2)
    for margin in (0.05, 0.2, 0.3, 0.5):
        values = rng.normal(0.1, 1, size=60)
        p_value = DescrStatsW(values).ttost_mean(-margin, margin)[0]
        test = contrast_of_differences(values, clusters=list(range(60)))
        label = verdict(test, better="higher", smallest_effect=margin, p_adjusted=1.0).label
        assert (label == "equivalent") == (p_value < 0.05)


def test_too_few_clusters_support_no_claim() -> None:
    result = judge(effect(5.0, n_clusters=9))
    assert result.label == "inconclusive"
    assert result.reason.startswith("Too few clusters: 9 of the 10")
    assert result.settle == "At least 1 more cluster."
    assert judge(effect(5.0, n_clusters=9), min_clusters=6).label == "better"


def test_no_interval_supports_no_claim() -> None:
    alone = contrast_of_differences([1, 2, 3], clusters=["a"] * 3)
    result = verdict(alone, better="higher", smallest_effect=None, p_adjusted=None)
    assert (result.label, result.p_value) == ("inconclusive", None)
    assert "One cluster" in result.reason


def test_an_undeclared_contrast_is_exploratory_whatever_it_shows() -> None:
    result = judge(effect(5.0), in_family=False)
    assert (result.label, result.in_family) == ("exploratory", False)


def test_multiplicity_takes_the_claim_away_and_says_so() -> None:
    test = effect(0.21)  # p = 0.04
    result = judge(test, smallest=None, p_adjusted=0.12)
    assert result.label == "inconclusive"
    assert "other declared contrasts" in result.reason
    assert "more clusters" in result.settle


def test_inconclusive_says_how_many_prompts_would_settle_it() -> None:
    # se 0.1 with 41 clusters: to show 0.2 of the time 80 % takes (2.0 + 0.85)² · 0.01 · 41 / 0.04 ≈ 83 clusters
    result = judge(effect(0.1))
    assert result.label == "inconclusive"
    assert result.settle == "About 42 more clusters (205 more prompts) would show a difference of 0.2 80% of the time."


def test_clusters_to_settle_reaches_its_power_in_simulation() -> None:
    test = effect(0.1, se=0.2, n_clusters=20)
    n = sure(clusters_to_settle(test.estimate, effect=0.5))
    rng = np.random.default_rng(4)
    draws = rng.normal(0.5, 0.2 * np.sqrt(20), size=(4_000, n))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(n))
    hits = np.mean([t_p_value(value, n - 1) < 0.05 for value in t])
    assert 0.78 <= hits <= 0.83


def test_a_difference_of_nothing_cannot_be_planned_for() -> None:
    assert "hardly settle" in judge(effect(1e-9), smallest=None).settle
    assert clusters_to_settle(effect(0.1).estimate, effect=1e-6) is None


@given(value=st.floats(-1, 1), se=st.floats(0.01, 1), margin=st.floats(0.01, 1))
def test_swapping_arms_swaps_better_and_worse(value: float, se: float, margin: float) -> None:
    one = judge(effect(value, se=se), smallest=margin).label
    other = judge(effect(-value, se=se), smallest=margin).label
    assert other == {"better": "worse", "worse": "better"}.get(one, one)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"smallest": -0.1}, "above 0"),
        ({"p_adjusted": 1.5}, r"\[0, 1\]"),
        ({"better": "up"}, "higher or lower"),
        ({"level": 5.0}, "0.95 is usual"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        judge(effect(0.5), **options)


def test_smallest_effects_in_the_unit_of_the_scores() -> None:
    control = np.arange(1.0, 11.0)
    assert smallest_effect_in_units(SmallestEffect(value=0.3, unit="points"), control) == 0.3
    by_sd = smallest_effect_in_units(SmallestEffect(value=0.5, unit="sd_of_control"), control)
    assert by_sd == pytest.approx(0.5 * control.std(ddof=1))
    assert smallest_effect_in_units(SmallestEffect(value=0.2, unit="quantile_of_control"), control) == 2.0
    with pytest.raises(InputError, match="hardly varies"):
        smallest_effect_in_units(SmallestEffect(value=0.5, unit="sd_of_control"), [3, 3, 3])
    with pytest.raises(InputError, match=r"between 0 and 0\.5"):
        smallest_effect_in_units(SmallestEffect(value=0.7, unit="quantile_of_control"), control)
    with pytest.raises(InputError, match="above 0"):
        smallest_effect_in_units(SmallestEffect(value=0, unit="points"), control)


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.03, 0.04 times 3, 2, 1 = 0.03, 0.06, 0.04 → running maximum 0.03, 0.06, 0.06
    assert adjust([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])


@settings(max_examples=6)  # statsmodels takes 50 ms a call
@given(p=P_VALUES)
def test_against_statsmodels_and_scipy(p: list[float]) -> None:
    assert adjust(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert adjust(p, method="bh") == pytest.approx(list(false_discovery_control(p)))
    assert adjust(p, method="by") == pytest.approx(list(false_discovery_control(p, method="by")))


@given(p=P_VALUES, seed=st.integers(0, 999))
def test_order_does_not_matter_and_nothing_shrinks(p: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(p))
    adjusted = adjust(p)
    assert adjust([p[i] for i in order]) == pytest.approx([adjusted[i] for i in order])
    assert all(after >= before for before, after in zip(p, adjusted, strict=True))


def test_an_empty_family_and_a_family_of_one() -> None:
    assert adjust([]) == []
    assert adjust([0.2]) == [0.2]


@pytest.mark.parametrize("p", [[1.2], [-0.1], [float("nan")]])
def test_values_outside_the_unit_interval_are_refused(p: list[float]) -> None:
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        adjust(p)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="holm, bh or by"):
        adjust([0.1], method="bonferroni")  # type: ignore[arg-type]


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
