from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from certain import ends, golden, sure
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.errors import InputError
from harness.stats import (
    crossed_share,
    rater_contrast,
    seed_contrast,
    seed_pilot,
    seed_shares,
    seeds_detectable,
    seeds_power,
    seeds_sample_size,
)
from harness.stats.crossed import CrossedParts, Spread, crossed_parts, spread_of
from harness.stats.rows import code_labels

GOLDEN = golden("crossed")


def grid(n_rows: int, n_columns: int, seed: int = 0, *, rows: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = np.repeat(np.arange(n_rows), n_columns), np.tile(np.arange(n_columns), n_rows)
    shared = rng.normal(size=n_rows)[first] * rows + rng.normal(size=n_columns)[second] * 0.8
    return shared + rng.normal(size=len(first)), first, second


def parts(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> CrossedParts:
    return crossed_parts(values - values.mean(), code_labels("first", first), code_labels("second", second))


def test_parts_by_hand() -> None:
    # rows 0 2 / 3 5 / 8 12: row means 1, 4, 10; column means 11/3, 19/3; mean 5; residuals ± 1/3, ± 1/3, ± 2/3
    found = parts(np.array([0.0, 2, 3, 5, 8, 12]), np.repeat([0, 1, 2], 2), np.tile([0, 1], 3))
    assert found.rows == pytest.approx((16 + 1 + 25) / 2 / 3)  # variance of row means / rows
    assert found.columns == pytest.approx(2 * (4 / 3) ** 2 / 2)  # two columns show no skewness
    assert found.cells == pytest.approx(4 / 3 / 2 / 6)  # Σ r² / (rows − 1)(columns − 1) / cells
    assert (found.rows_df, found.columns_df) == pytest.approx((2.0, 1.0))
    wide = spread_of(found, level=0.95)  # rows outweigh columns: theirs alone, widened
    assert wide.df == pytest.approx(2)
    assert wide.se == pytest.approx(np.sqrt(7) * (1 + 0.8 / 3 * (1 - found.columns / 7)))


def test_spread_by_hand() -> None:
    given = CrossedParts(rows=1.0, columns=4.0, cells=0.5, rows_df=2, columns_df=9, columns_skewness=0)
    both = spread_of(given, level=0.95)
    assert both.se == pytest.approx(np.sqrt(1 - 0.5 + 4))
    assert both.df == pytest.approx(4.5**2 / (1 / 2 + 16 / 9 + 0.25 / 18))
    assert spread_of(replace(given, rows=0.5), level=0.95) == Spread(se=2.0, df=9)  # rows add nothing that shows
    two = spread_of(replace(given, rows_df=1.0), level=0.95)  # two seeds: one degree of freedom
    assert (two.df, two.se) == (1.0, both.se)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_components_against_mixed_models_of_other_tools(case: dict[str, Any]) -> None:
    """Balanced cells, no component at its bound: what REML gives; columns as the engine had them before widening."""
    values, first, second = (np.array(case[key]) for key in ("values", "rows", "columns"))
    found = parts(values, first, second)
    plain = found.columns / (1 + found.columns_skewness**2) ** 2
    for tool in (case, case["lme4"]):  # statsmodels, and R
        assert np.sqrt(found.rows - found.cells + plain) == pytest.approx(tool["se"], rel=2e-3)
        assert found.cells * len(set(first)) * len(set(second)) == pytest.approx(tool["cells"], rel=2e-3)
        assert (found.rows - found.cells) * len(set(first)) == pytest.approx(tool["rows_variance"], rel=5e-3)
    if found.rows < found.columns:  # no guard: Satterthwaite's degrees of freedom as lmerTest has them
        assert spread_of(found, level=0.95).df == pytest.approx(case["lme4"]["df"], rel=0.02)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_planned_power_against_a_t_test_of_the_components_of_lme4(case: dict[str, Any]) -> None:
    values, seeds, films = (np.array(case[key]) for key in ("values", "rows", "columns"))
    design = seed_pilot(values, seeds=seeds, clusters=films)
    plain = design.parts.columns / (1 + design.parts.columns_skewness**2) ** 2
    design = replace(design, parts=replace(design.parts, columns=plain))
    for n_seeds, theirs in zip((3, 6, 12), case["lme4"]["power"], strict=True):
        ours = seeds_power(design, effect=1.0, n_seeds=n_seeds, n_clusters=40).power
        is_guarded = case["lme4"]["rows_variance"] / n_seeds > plain * design.n_clusters / 40
        assert ours <= theirs + 5e-3 if is_guarded else ours == pytest.approx(theirs, abs=5e-3)


@settings(max_examples=25, deadline=None)
@given(sd=st.floats(1e-3, 1e3), share=st.floats(0, 0.99), n_clusters=st.integers(2, 200), n_seeds=st.integers(3, 50))
def test_seeds_effect_and_power_fit_together(sd: float, share: float, n_clusters: int, n_seeds: int) -> None:
    design = seed_shares(sd, seed_share=share, n_clusters=n_clusters)
    assert design.seed_share == pytest.approx(share)
    seen = seeds_detectable(design, n_seeds=n_seeds)
    assert seeds_power(design, effect=seen.effect, n_seeds=n_seeds).power == pytest.approx(0.8, abs=0.01)
    assert seeds_sample_size(design, effect=1.01 * seen.effect).n <= n_seeds


def test_unusable_plans_over_seeds_are_refused() -> None:
    design = seed_shares(0.2, seed_share=0.5, n_clusters=20)
    with pytest.raises(InputError, match="take more of these"):
        seeds_sample_size(design, effect=0.01)
    with pytest.raises(InputError, match="at least 3, got 2"):
        seeds_detectable(design, n_seeds=2)
    with pytest.raises(InputError, match="lie in"):
        seed_shares(0.2, seed_share=1.0, n_clusters=20)


def test_seeds_that_hardly_scatter_leave_the_interval_to_the_films() -> None:
    values, seeds, films = grid(3, 40, 2, rows=0.0)
    estimate = seed_contrast(values, seeds=seeds, clusters=films).estimate
    assert (estimate.n_clusters, estimate.n_crossed, estimate.crossed) == (40, 3, "seed")
    assert sure(estimate.df) > 10
    scattered, seeds, films = grid(3, 40, 2, rows=5.0)
    assert seed_contrast(scattered, seeds=seeds, clusters=films).estimate.df == pytest.approx(2)


def test_two_claims_about_people() -> None:
    values, raters, prompts = grid(3, 20, 1, rows=2.0)
    claims = rater_contrast(values, raters=raters, prompts=prompts)
    by_prompt = values.reshape(3, 20).mean(axis=0)
    assert claims.panel.p_value == pytest.approx(scipy_stats.ttest_1samp(by_prompt, 0).pvalue)
    assert claims.panel.estimate.notes == ("about these 3 raters",)
    assert claims.people.estimate.notes == ("about raters like these 3",)
    assert ends(claims.people.estimate)[0] < ends(claims.panel.estimate)[0]
    assert claims.panel.estimate.n_crossed == claims.people.estimate.n_crossed == 3


def test_one_of_either_gives_no_interval_and_no_difference_is_certain() -> None:
    alone = rater_contrast([1.0, 2.0], raters=["a", "a"], prompts=[1, 2])
    assert (alone.people.estimate.low, alone.people.p_value) == (None, None)
    assert "one rater" in alone.people.note
    assert alone.panel.estimate.low is not None  # the one rater's own claim
    assert "one film" in seed_contrast([1.0, 2.0], seeds=[1, 2], clusters=["a", "a"]).note
    same = seed_contrast([0.0] * 4, seeds=[0, 0, 1, 1], clusters=[0, 1, 0, 1])
    assert (same.estimate.low, same.p_value) == (0, 1)
    with pytest.raises(InputError, match="aligned"):
        rater_contrast([0.0], raters=[1, 2], prompts=[1])
    with pytest.raises(InputError, match="finite"):
        seed_contrast([0.0, np.nan], seeds=[1, 2], clusters=[1, 1])


def test_raters_without_overlap_are_said_to_have_none() -> None:
    test = rater_contrast([1.0, 2, 4, 3], raters=["a", "a", "b", "b"], prompts=[1, 2, 3, 4]).people
    assert "share nothing" in test.note
    assert test.estimate.low is not None


def test_a_share_stays_within_what_shares_can_be() -> None:
    hits = [1.0, 1, 1, 1, 1, 1, 1, 1, 0]
    found = crossed_share(hits, first=[0] * 3 + [1] * 3 + [2] * 3, second=[0, 1, 2] * 3, names=("seed", "film"))
    assert 0 <= ends(found)[0] < 8 / 9 < ends(found)[1] <= 1
    certain = crossed_share([1.0] * 9, first=[0] * 3 + [1] * 3 + [2] * 3, second=[0, 1, 2] * 3, names=("seed", "film"))
    assert 0 < ends(certain)[0] < ends(certain)[1] == 1


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.floats(-1e3, 1e3, allow_nan=False)), min_size=1, max_size=30
    )
)
def test_any_cells_give_an_interval_around_the_mean_or_say_why_not(cells: list[tuple[int, int, float]]) -> None:
    first, second, values = zip(*cells, strict=True)
    estimate = seed_contrast(values, seeds=first, clusters=second).estimate
    assert estimate.value == pytest.approx(np.mean(values))
    if estimate.low is None or estimate.high is None:
        assert estimate.notes
        return
    slack = 1e-9 * max(1, *map(abs, values))
    assert estimate.low - slack <= estimate.value <= estimate.high + slack
    turned = seed_contrast([-v for v in values], seeds=first[::1], clusters=second).estimate
    assert ends(turned) == pytest.approx((-ends(estimate)[1], -ends(estimate)[0]))
