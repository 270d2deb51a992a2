from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from certain import rng, sure
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats
from scipy.stats import permutation_test

from harness.errors import InputError
from harness.stats import is_reachable, paired_contrast, require_reachable, sign_flip
from harness.stats.paired import _drawn_p_value, _exact_p_value

CLUSTERS = st.lists(st.integers(1, 6), min_size=2, max_size=9)


def rows(sizes: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    film = rng.normal(size=len(sizes))[clusters]
    return rng.normal(size=len(clusters)) + film + 0.3, rng.normal(size=len(clusters)), clusters


def test_against_arithmetic_by_hand() -> None:
    # differences 1, 3 | 2 | 6: N = 4, mean 3; residual sums (−2 + 0, −1, 3); sizes 2, 1, 1; c = 2, 4/3, 4/3
    # V = (2·4 + 4/3·1 + 4/3·9) / 16 = (8 + 40/3) / 16 = 4/3
    # df = 16 / (6 + [(2·4 + 4/3 + 4/3)² − (4·16 + 16/9 + 16/9)] / 16) = 16 / (6 + (1024/9 − 608/9) / 16) = 144/80
    result = paired_contrast([2, 4, 3, 6], [1, 1, 1, 0], clusters=["a", "a", "b", "c"])
    assert result.estimate.value == 3
    assert result.estimate.se == pytest.approx(math.sqrt(4 / 3))
    assert result.estimate.df == pytest.approx(1.8)
    assert result.statistic == pytest.approx(3 / math.sqrt(4 / 3))
    assert (result.estimate.n, result.estimate.n_clusters, result.estimate.n_missing) == (4, 3, 0)


@given(sizes=CLUSTERS, seed=st.integers(0, 10_000))
def test_closed_form_against_the_matrices_of_the_definition(sizes: list[int], seed: int) -> None:
    a, b, clusters = rows(sizes, seed)
    n = len(a)
    residual_maker = np.eye(n) - np.ones((n, n)) / n
    vectors = []
    for g in range(len(sizes)):
        mine = clusters == g
        adjust = linalg.fractional_matrix_power(residual_maker[np.ix_(mine, mine)], -0.5)
        vectors.append((np.ones(mine.sum()) @ adjust.real @ residual_maker[mine]) / n)
    matrix = np.array(vectors)  # [clusters, n]; V = |matrix @ y|², working covariance I
    gram = matrix @ matrix.T
    estimate = paired_contrast(a, b, clusters=clusters).estimate
    assert estimate.se == pytest.approx(np.linalg.norm(matrix @ (a - b)), rel=1e-8)
    assert estimate.df == pytest.approx(np.trace(gram) ** 2 / np.sum(gram**2), rel=1e-8)


def test_one_row_a_cluster_against_scipy_paired_t() -> None:
    a, b, clusters = rows([1] * 17, 3)
    result, theirs = paired_contrast(a, b, clusters=clusters), stats.ttest_rel(a, b)
    assert result.statistic == pytest.approx(theirs.statistic)
    assert result.p_value == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval(0.95)
    assert (result.estimate.low, result.estimate.high) == pytest.approx((interval.low, interval.high))


def test_equal_clusters_against_statsmodels_cluster_covariance() -> None:
    # with equal clusters CR2 is CR1 without the (N − 1)/(N − k) part: G/(G − 1)
    a, b, clusters = rows([4] * 9, 5)
    fit = sm.OLS(a - b, np.ones(len(a))).fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False})
    estimate = paired_contrast(a, b, clusters=clusters).estimate
    assert estimate.value == pytest.approx(fit.params[0])
    assert estimate.se == pytest.approx(fit.bse[0] * math.sqrt(9 / 8))


@given(sizes=CLUSTERS, seed=st.integers(0, 10_000))
def test_swapping_the_arms_turns_the_sign(sizes: list[int], seed: int) -> None:
    a, b, clusters = rows(sizes, seed)
    one, other = paired_contrast(a, b, clusters=clusters), paired_contrast(b, a, clusters=clusters)
    assert one.estimate.value == pytest.approx(-other.estimate.value)
    assert one.estimate.low == pytest.approx(-(other.estimate.high or 0))
    assert one.p_value == pytest.approx(other.p_value)


@given(sizes=CLUSTERS, seed=st.integers(0, 10_000), scale=st.floats(0.01, 1000), shift=st.floats(-1e4, 1e4))
def test_rescaling_relabelling_and_permuting(sizes: list[int], seed: int, scale: float, shift: float) -> None:
    a, b, clusters = rows(sizes, seed)
    order = np.random.default_rng(seed).permutation(len(a))
    one = paired_contrast(a, b, clusters=clusters)
    other = paired_contrast(
        (scale * a + shift)[order], (scale * b + shift)[order], clusters=[f"film {99 - c}" for c in clusters[order]]
    )
    assert other.estimate.value == pytest.approx(scale * one.estimate.value, rel=1e-4, abs=1e-6)
    assert other.estimate.se == pytest.approx(scale * (one.estimate.se or 0), rel=1e-4, abs=1e-6)
    assert other.estimate.df == pytest.approx(one.estimate.df)


@given(seed=st.integers(0, 10_000), copies=st.integers(2, 5))
def test_repeating_every_row_inside_its_cluster_changes_nothing(seed: int, copies: int) -> None:
    a, b, clusters = rows([2, 3, 1, 4], seed)
    one = paired_contrast(a, b, clusters=clusters)
    many = paired_contrast(np.tile(a, copies), np.tile(b, copies), clusters=np.tile(clusters, copies))
    assert many.estimate.se == pytest.approx(one.estimate.se)
    assert many.p_value == pytest.approx(one.p_value)
    assert many.estimate.n == copies * one.estimate.n


@given(sizes=CLUSTERS, seed=st.integers(0, 10_000))
def test_more_films_like_these_make_surer(sizes: list[int], seed: int) -> None:
    a, b, clusters = rows(sizes, seed)
    one = paired_contrast(a, b, clusters=clusters)
    twice = paired_contrast(np.tile(a, 2), np.tile(b, 2), clusters=np.concatenate([clusters, clusters + 99]))
    assert twice.estimate.value == pytest.approx(one.estimate.value)
    assert sure(twice.estimate.se) < sure(one.estimate.se)
    assert sure(twice.estimate.df) > sure(one.estimate.df)


def test_identical_arms_are_no_difference_with_certainty() -> None:
    result = paired_contrast([1.1, 2.2, 3.3], [1.1, 2.2, 3.3], clusters=[1, 2, 3])
    assert (result.estimate.value, result.estimate.low, result.estimate.high, result.p_value) == (0, 0, 0, 1)


def test_the_same_difference_everywhere_falls_back_to_the_sign_flip_p_value() -> None:
    result = paired_contrast([1.1, 2.2, 3.3], [0.1, 1.2, 2.3], clusters=[1, 2, 3])
    assert result.p_value == 0.25  # 2 of the 2³ sign patterns are as extreme
    assert result.estimate.low == pytest.approx(1)
    assert "degenerate" in result.note


@pytest.mark.parametrize(
    ("treatment", "control", "clusters", "said"),
    [
        ([1.0, math.inf], [0.0, 0.0], [1, 2], "finite"),
        ([], [], [], "at least 1"),
        ([[1.0]], [[0.0]], [1], "one-dimensional"),
        (["a"], ["b"], [1], "numbers"),
    ],
)
def test_unusable_input_is_refused_with_advice(
    treatment: list[Any], control: list[Any], clusters: list[Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        paired_contrast(treatment, control, clusters=clusters)


def test_a_level_that_is_a_percentage_is_refused() -> None:
    with pytest.raises(InputError, match=r"0\.95 is usual"):
        paired_contrast([1, 2], [0, 0], clusters=[1, 2], level=95)


def test_sign_flips_by_hand() -> None:
    # sums 1, 2, 3, 4, 5, −1: total 14; |total| ≥ 14 for the patterns with total ±14 or ±16: 2 + 2·2 of 64
    # (+16: all of 1, 1 positive; +14: one of the two ones flipped) → (1 + 2) · 2 / 64
    result = sign_flip([1, 2, 3, 4, 5, -1], np.zeros(6), clusters=range(6), rng=rng())
    assert result.p_value == 6 / 64
    assert "exchangeability" in result.note


def test_exact_against_scipy_permutation_test() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, size=11)
    theirs = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=10**9)
    assert sign_flip(values, np.zeros(11), clusters=range(11), rng=rng()).p_value == pytest.approx(theirs.pvalue)


def test_drawn_patterns_agree_with_counted_ones() -> None:
    sums = np.random.default_rng(4).normal(0.5, 1, size=14)
    assert _drawn_p_value(sums, rng(), 40_000) == pytest.approx(_exact_p_value(sums), abs=0.008)


def test_rows_of_a_cluster_flip_together() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, size=40)
    clusters = np.arange(40) // 5
    sums = values.reshape(8, 5).sum(axis=1)
    one = sign_flip(values, np.zeros(40), clusters=clusters, rng=rng())
    assert one.p_value == sign_flip(sums, np.zeros(8), clusters=range(8), rng=rng()).p_value
    assert one.p_value == sign_flip(np.zeros(40), values, clusters=clusters, rng=rng()).p_value


def test_unreachable_families_keep_the_t_test_and_say_so() -> None:
    values = [3.0, 2.0, 4.0, 3.0, 2.5]
    result = sign_flip(values, [0.0] * 5, clusters=range(5), rng=rng())
    assert result.p_value == paired_contrast(values, [0.0] * 5, clusters=range(5)).p_value
    assert "cannot reach" in result.note


def test_reachability_is_two_over_two_to_the_clusters() -> None:
    assert is_reachable(6)  # 2 / 64 = 0.031
    assert not is_reachable(5)
    assert is_reachable(9, family_size=10)
    assert not is_reachable(8, family_size=10)
    require_reachable(9, family_size=10)
    with pytest.raises(InputError, match="at least 9"):
        require_reachable(8, family_size=10)


def test_type_one_error_under_swapped_labels_with_heavy_tails() -> None:
    generator = np.random.default_rng(6)
    n_draws, n_false = 1_500, 0
    for _ in range(n_draws):
        clusters = np.arange(40) // 5
        values = generator.standard_t(2, size=40) * np.repeat(generator.choice([-1, 1], size=8), 5)
        n_false += sure(sign_flip(values, np.zeros(40), clusters=clusters, rng=generator).p_value) <= 0.05
    assert n_false / n_draws <= 0.05 + 0.017
