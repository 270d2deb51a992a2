from __future__ import annotations

import numpy as np
import pytest
from certain import holds, rng
from scipy import stats

from harness.errors import InputError
from harness.stats import jonckheere, page_trend, seed_components

# Page (1963) as worked in scipy.stats.page_trend_test's documentation: ten students rate three kinds of seminar
RATINGS = np.array(
    [[3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2], [2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5], [1, 3, 4]]
)


ORDER = ["arm0", "arm1", "arm2"]


def long(table: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray]:
    names = [f"arm{j}" for j in range(table.shape[1])]
    return table.ravel(), names * len(table), np.repeat(np.arange(len(table)), table.shape[1])


def test_page_statistic_and_p_value_against_scipy() -> None:
    values, arms, films = long(RATINGS)
    result = page_trend(values, arms, ORDER, clusters=films, rng=rng(), n_permutations=50_000)
    assert result.statistic == stats.page_trend_test(RATINGS).statistic  # its p value takes no ties
    without_ties = np.random.default_rng(1).normal(size=(7, 3)) + np.array([0, 0.3, 0.6])
    values, arms, films = long(without_ties)
    ours = page_trend(values, arms, ORDER, clusters=films, rng=rng(), n_permutations=100_000)
    exact = stats.page_trend_test(without_ties, method="exact").pvalue
    assert ours.p_value == pytest.approx(2 * exact, rel=0.05)


def test_page_takes_film_means_and_counts_incomplete_films() -> None:
    values, arms, films = long(RATINGS)
    twice = np.tile(values, 2), arms * 2, ORDER
    doubled = page_trend(*twice, clusters=np.tile(films, 2), rng=rng(), n_permutations=1000)
    once = page_trend(values, arms, ORDER, clusters=films, rng=rng(), n_permutations=1000)
    assert doubled == once
    gap = page_trend(values[1:], arms[1:], ORDER, clusters=films[1:], rng=rng(), n_permutations=1000)
    assert (gap.estimate.n, gap.estimate.n_missing) == (9, 1)


def test_unknown_arms_and_incomplete_designs_are_refused() -> None:
    values, arms, films = long(RATINGS)
    with pytest.raises(InputError, match="name every arm"):
        page_trend(values, arms, ["arm0", "arm1"], clusters=films, rng=rng())
    with pytest.raises(InputError, match="every arm"):
        page_trend([1, 2], ["a", "b"], ["a", "b"], clusters=[1, 2], rng=rng())
    with pytest.raises(InputError, match="at least 2 different"):
        page_trend([1, 2], ["a", "a"], ["a"], clusters=[1, 2], rng=rng())


def test_jonckheere_by_hand_and_by_its_normal_approximation() -> None:
    values = np.array([40, 35, 38, 43, 44, 41, 38, 40, 47, 44, 48, 40, 45, 42, 43, 46, 44]) + np.linspace(0, 0.5, 17)
    arms = ["a"] * 6 + ["b"] * 6 + ["c"] * 5
    result = jonckheere(values, arms, ["a", "b", "c"], runs=range(17), rng=rng(), n_permutations=10_000)
    groups = [values[:6], values[6:12], values[12:]]
    by_hand = sum(np.sum(groups[i][:, None] < groups[j][None, :]) for i in range(3) for j in range(i + 1, 3))
    assert result.statistic == by_hand
    n = np.array([6, 6, 5])
    variance = (17**2 * (2 * 17 + 3) - np.sum(n**2 * (2 * n + 3))) / 72
    normal = stats.norm.sf(abs(by_hand - (17**2 - np.sum(n**2)) / 4) / np.sqrt(variance))
    assert result.p_value == pytest.approx(2 * normal, abs=0.02)
    assert result.estimate.low is None


def test_jonckheere_over_two_arms_is_mann_whitney() -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(size=9)
    result = jonckheere(values, ["a"] * 4 + ["b"] * 5, ["a", "b"], runs=range(9), rng=rng(), n_permutations=30_000)
    theirs = stats.mannwhitneyu(values[4:], values[:4], method="exact")
    assert result.statistic == theirs.statistic
    assert result.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_means_that_differ_by_rounding_alone_are_tied() -> None:
    rows = rng(5).normal(size=(60, 3))  # films by arms
    rows[:, 1:] = rows[:, :1] * [1 + 2e-16, 1 - 3e-16] + [1e-17, -1e-17]
    arms, films = list("abc") * 60, np.repeat(np.arange(60), 3)
    page = page_trend(rows.ravel(), arms, list("abc"), clusters=films, rng=rng(6), n_permutations=1_000)
    assert (page.estimate.value, page.p_value) == (0.0, 1.0)
    runs = jonckheere([0.1 + 0.2, 0.3, 0.7, 0.9], list("abab"), list("ab"), runs=list("wxyz"), rng=rng(6))
    assert runs.estimate.value == 1 / 4  # one of four pairs is tied, two rise, one falls


def test_rows_of_one_run_are_refused() -> None:
    with pytest.raises(InputError, match="average"):
        jonckheere([1, 2, 3], ["a", "a", "b"], ["a", "b"], runs=["r1", "r1", "r2"], rng=rng())


def test_seed_components_by_hand() -> None:
    # seeds × films, means 1 3 / 3 5: no interaction; MS seed = 2 · (1 + 1) = 4, rest 0 → seed variance 4 / 2 = 2
    result = seed_components([1, 3, 3, 5], seeds=["s1", "s1", "s2", "s2"], clusters=["f1", "f2", "f1", "f2"])
    assert (result.seed.value, result.film, result.rest) == (2, 2, 0)
    assert result.seed_share == 1


def test_equal_seeds_have_no_variance_at_all() -> None:
    films = np.random.default_rng(0).normal(size=10) / 3
    again = seed_components(
        np.tile(films, 3) + 0.1, seeds=np.repeat(np.arange(3), 10), clusters=np.tile(np.arange(10), 3)
    )
    assert again.seed.value == 0


def test_seed_variance_is_recovered_and_its_interval_covers() -> None:
    generator = np.random.default_rng(3)
    values, hits = [], 0
    for _ in range(400):
        table = (
            0.5 * generator.normal(size=(4, 1)) + generator.normal(size=(1, 20)) + 0.8 * generator.normal(size=(4, 20))
        )
        result = seed_components(table.ravel(), seeds=np.repeat(np.arange(4), 20), clusters=np.tile(np.arange(20), 4))
        values.append(result.seed.value)
        hits += holds(result.seed, 0.25)
    assert np.mean(values) == pytest.approx(0.25, abs=0.04)
    assert 0.93 - 0.03 <= hits / 400 <= 0.99
    assert "3 degrees of freedom" in result.seed.notes[0]


def test_one_seed_is_refused() -> None:
    with pytest.raises(InputError, match="add seeds"):
        seed_components([1, 2], seeds=["s", "s"], clusters=["a", "b"])
