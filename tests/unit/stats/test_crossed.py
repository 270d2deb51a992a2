from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from harness.errors import InputError
from harness.stats import rater_contrast, seed_contrast


def grid(n_raters: int, n_prompts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    raters, prompts = np.repeat(np.arange(n_raters), n_prompts), np.tile(np.arange(n_prompts), n_raters)
    shared = rng.normal(size=n_raters)[raters] * 0.6 + rng.normal(size=n_prompts)[prompts] * 0.8
    return shared + rng.normal(size=len(raters)), raters, prompts


def test_against_statsmodels_two_way_covariance() -> None:
    values, raters, prompts = grid(12, 30)
    fit = sm.OLS(values, np.ones(len(values))).fit()
    _, one, two = cov_cluster_2groups(fit, raters, prompts, use_correction=False)
    cells = float(np.sum((values - values.mean()) ** 2)) / len(values) ** 2
    n = len(values)
    expected = one[0, 0] * 12 / 11 + two[0, 0] * 30 / 29 - cells * n / (n - 1)
    result = rater_contrast(values, raters=raters, prompts=prompts)
    assert result.estimate.se == pytest.approx(np.sqrt(expected))
    assert result.estimate.df == 11
    assert result.estimate.n_clusters == 12


def test_a_small_panel_is_labelled() -> None:
    values, raters, prompts = grid(3, 20)
    result = rater_contrast(values, raters=raters, prompts=prompts)
    assert "about these 3 raters" in result.note
    assert result.estimate.df == 2
    values, raters, prompts = grid(10, 20)
    assert rater_contrast(values, raters=raters, prompts=prompts).note == ""


def test_three_seeds_leave_two_degrees_of_freedom_and_say_so() -> None:
    values, seeds, films = grid(3, 20)
    result = seed_contrast(values, seeds=seeds, clusters=films)
    assert result.note == "3 seeds: 2 degrees of freedom"
    assert result.estimate.df == 2


def test_a_second_source_of_error_never_shrinks_the_variance() -> None:
    # rater effects that cancel exactly: the subtraction alone would leave less than the prompts' own variance
    values = np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
    result = rater_contrast(values, raters=[0, 0, 1, 1, 2, 2], prompts=[0, 1, 0, 1, 0, 1])
    prompts_only = sum(np.square([1.0, -1.0])) / 36 * 2
    assert result.estimate.se >= np.sqrt(prompts_only) - 1e-12


def test_swapping_the_factors_changes_only_names() -> None:
    values, raters, prompts = grid(5, 9)
    one = seed_contrast(values, seeds=raters, clusters=prompts).estimate
    other = seed_contrast(values, seeds=prompts, clusters=raters).estimate
    assert (one.value, one.se, one.df) == pytest.approx((other.value, other.se, other.df))


def test_one_rater_gives_no_interval_and_no_difference_is_certain() -> None:
    alone = rater_contrast([1.0, 2.0], raters=["a", "a"], prompts=[1, 2])
    assert (alone.estimate.low, alone.p_value) == (None, None)
    assert "one rater" in alone.note
    same = rater_contrast([0.0] * 4, raters=[0, 0, 1, 1], prompts=[0, 1, 0, 1])
    assert (same.estimate.low, same.p_value) == (0, 1)
    with pytest.raises(InputError, match="aligned"):
        rater_contrast([0.0], raters=[1, 2], prompts=[1])


def test_crossed_intervals_cover_where_one_way_intervals_do_not() -> None:
    n_draws, hits, naive = 600, 0, 0
    for seed in range(n_draws):
        values, raters, prompts = grid(12, 25, seed)
        estimate = rater_contrast(values, raters=raters, prompts=prompts).estimate
        hits += bool(estimate.low <= 0 <= estimate.high)
        naive += bool(abs(values.mean()) <= 1.96 * values.std() / np.sqrt(len(values)))
    assert 0.93 - 0.03 <= hits / n_draws <= 0.99
    assert naive / n_draws < 0.6
