from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from certain import rng, sure
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from harness.errors import InputError
from harness.stats import (
    PairedDesign,
    contrast_of_differences,
    paired_detectable,
    paired_power,
    paired_sample_size,
    pilot_detectable,
    pilot_power,
    pilot_sample_size,
    votes_detectable,
    votes_power,
    votes_sample_size,
)


@given(n=st.integers(5, 400), effect=st.floats(0.05, 0.5))
def test_paired_power_against_statsmodels(n: int, effect: float) -> None:
    theirs = TTestPower().power(effect_size=effect, nobs=n, alpha=0.05)
    ours = paired_power(PairedDesign(sd_difference=1.0), effect=effect, n_prompts=n).power
    if not np.isnan(theirs):  # its noncentral t gives up far out
        assert ours == pytest.approx(theirs, abs=2e-6)
    assert 0 < ours <= 1


def test_sample_size_against_statsmodels_and_back() -> None:
    design = PairedDesign(sd_difference=0.8)
    answer = paired_sample_size(design, effect=0.2)
    theirs = TTestPower().solve_power(effect_size=0.25, power=0.8, alpha=0.05)
    assert answer.n == int(np.ceil(theirs))
    assert paired_detectable(design, n_prompts=answer.n).effect == pytest.approx(0.2, rel=0.01)
    assert answer.sentence == "To show a true difference of 0.2 with power 80%, judge 128 prompts from 128 clusters."


def test_variance_of_the_design_by_hand() -> None:
    # ω² (1 + 9 · 0.2) + 2 σ² / K = 1 · 2.8 + 2 · 0.5 / 4
    design = PairedDesign(sd_difference=1, sd_repeat=np.sqrt(0.5), n_draws=4, prompts_per_cluster=10, icc=0.2)
    assert design.variance_per_prompt == pytest.approx(3.05)


def test_planned_power_is_reached_in_simulation_with_films() -> None:
    design = PairedDesign(sd_difference=1, sd_repeat=0.5, n_draws=2, prompts_per_cluster=5, icc=0.3)
    n = paired_sample_size(design, effect=0.3).n // 5 * 5 + 5
    rng = np.random.default_rng(0)
    films, hits = np.arange(n) // 5, 0
    for _ in range(1_000):
        true = 0.3 + np.sqrt(0.3) * rng.normal(size=n // 5)[films] + np.sqrt(0.7) * rng.normal(size=n)
        seen = true + 0.5 * (rng.normal(size=(2, n)) - rng.normal(size=(2, n))).mean(axis=0)
        hits += sure(contrast_of_differences(seen, clusters=films).p_value) < 0.05
    assert hits / 1_000 == pytest.approx(0.8, abs=0.045)


@pytest.mark.parametrize(("share", "votes"), [(0.55, 783), (0.60, 194), (0.65, 85), (0.70, 47)])
def test_votes_against_the_published_numbers(share: float, votes: int) -> None:
    assert votes_sample_size(share).n == votes
    assert votes_power(share, n_votes=votes).power == pytest.approx(0.8, abs=0.01)
    assert votes_sample_size(1 - share).n == votes
    shown = votes_detectable(n_votes=votes).effect
    assert shown == pytest.approx(share, abs=0.002)
    assert votes_power(shown, n_votes=votes).power == pytest.approx(0.8, abs=1e-6)


def test_ties_and_raters_inflate_the_votes() -> None:
    answer = votes_sample_size(0.6, tie_share=0.25, votes_per_rater=11, icc=0.1)
    assert answer.n == pytest.approx(193.9 / 0.75 * 2, abs=1)
    assert "25% of them ties" in answer.sentence
    again = votes_power(0.6, n_votes=answer.n, tie_share=0.25, votes_per_rater=11, icc=0.1)
    assert again.power == pytest.approx(0.8, abs=0.01)


def test_pilot_power_agrees_with_the_formula_for_normal_differences() -> None:
    rng = np.random.default_rng(1)
    pilot = rng.normal(0.1, 1, size=2_000)
    answer = pilot_power(pilot, clusters=range(2_000), effect=0.4, n_clusters=50, rng=rng)
    formula = paired_power(PairedDesign(sd_difference=1), effect=0.4, n_prompts=50)
    assert answer.power == pytest.approx(formula.power, abs=0.05)
    assert answer.n_clusters == 50


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (lambda: PairedDesign(sd_difference=0), "not both 0"),
        (lambda: PairedDesign(sd_difference=1, icc=2), "from a pilot"),
        (lambda: paired_power(PairedDesign(sd_difference=1), effect=0, n_prompts=10), "above 0"),
        (lambda: paired_sample_size(PairedDesign(sd_difference=1), effect=1e-6), "larger one"),
        (lambda: votes_sample_size(0.5), "differ from 0"),
        (lambda: votes_detectable(n_votes=3), "collect more"),
        (lambda: pilot_power([1, 2], clusters=[1, 2], effect=1, n_clusters=5, rng=rng()), "pilot more clusters"),
        (lambda: pilot_detectable([1] * 3, clusters=[1, 2, 3], n_clusters=5, rng=rng()), "without variance"),
        (lambda: pilot_sample_size([0, 1, 2], clusters=[1, 2, 3], effect=1e-4, rng=rng(), n_draws=100), "larger one"),
    ],
)
def test_unusable_plans_are_refused(plan: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan()


def test_a_pilots_three_answers_fit_together() -> None:
    rng = np.random.default_rng(4)
    films = np.repeat(np.arange(30), 5)
    pilot = 3.0 + 0.6 * rng.normal(size=30)[films] + rng.normal(size=150)  # its own mean must not matter
    size = pilot_sample_size(pilot, clusters=films, effect=0.4, rng=rng)
    assert size.n_clusters is not None
    assert size.n == pytest.approx(5 * size.n_clusters, abs=1)
    power = pilot_power(pilot, clusters=films, effect=0.4, n_clusters=size.n_clusters, rng=rng).power
    assert power == pytest.approx(0.8, abs=0.04)
    detectable = pilot_detectable(pilot, clusters=films, n_clusters=size.n_clusters, rng=rng)
    assert detectable.effect == pytest.approx(0.4, rel=0.06)
    assert detectable.power >= 0.8
    # Rescaling the pilot rescales what it shows; the same stream gives the same draws.
    small, large = (
        pilot_detectable(c * pilot, clusters=films, n_clusters=20, rng=np.random.default_rng(9)).effect for c in (1, 10)
    )
    assert large == pytest.approx(10 * small, rel=1e-6)
