"""Verdicts over seeds and of one: by hand, by law, and what lost rows and trainings do to them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ablations import A_B, Values, analysed, design_of, seeded
from certain import ends, sure
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.experiment.analysis.contrasts import MeasureRule, label_clusters, smallest_effect_in_units
from harness.experiment.analysis.seeded import SeededArm, paired_rows, side_of
from harness.experiment.analysis.seeds import Analysis, settling_sentence
from harness.experiment.design import ContrastDesign, EffectDesign
from harness.stats import seed_contrast
from harness.stats.crossed_power import CrossedPlan, crossed_plan, seed_pilot
from harness.types import Finding, Verdict

LOSS = MeasureRule(
    name="loss", unit="bits per byte", better="lower", smallest_effect=EffectDesign(value=0.1, unit="bits_per_byte")
)
NATS = MeasureRule(name="loss", unit="nats", better="lower")
RATE = MeasureRule(name="loss", unit="share", better="lower", is_rate=True)


def analyse(*arms: SeededArm, rule: MeasureRule = LOSS, **how: Any) -> Analysis:
    return analysed(*arms, rule=rule, **{"test": "crossed_t", **how})


def untrained(name: str, values: Values, **how: Any) -> SeededArm:
    return seeded(name, {0: values}, is_trained=False, **how)


def contrast_of(analysis: Analysis) -> Finding:
    (finding,) = [f for f in analysis.findings if f.contrast == "a-b"]
    return finding


def verdict_of(analysis: Analysis) -> Verdict:
    return sure(contrast_of(analysis).verdict)


def noisy(shift: float, *, seed: int, n: int = 12) -> list[float | None]:
    return [float(v) for v in 2 + shift + 0.1 * np.random.default_rng(seed).standard_normal(n)]


def test_a_contrast_over_seeds_is_the_crossed_mean() -> None:
    a = {s: noisy(-0.5, seed=s) for s in (1, 2, 3)}
    b = {s: noisy(0.0, seed=10 + s) for s in (1, 2, 3)}
    finding = contrast_of(analyse(seeded("a", a), seeded("b", b)))
    differences = [x - y for s in (1, 2, 3) for x, y in zip(a[s], b[s], strict=True)]  # type: ignore[operator]
    expected = seed_contrast(
        differences,
        seeds=[s for s in (1, 2, 3) for _ in range(12)],
        clusters=[f"m{i // 2}" for _ in range(3) for i in range(12)],
    ).estimate
    found = finding.estimate
    assert (found.value, found.low, found.high, found.df) == (expected.value, expected.low, expected.high, expected.df)
    assert (found.n, found.n_clusters, found.n_crossed, found.crossed) == (12, 6, 3, "seed")
    assert sure(finding.verdict).label == "better"


def test_three_seeds_that_disagree_settle_nothing_though_each_alone_would() -> None:
    a = {s: noisy(shift, seed=s) for s, shift in ((1, -0.6), (2, 0.5), (3, -0.1))}
    b = {s: noisy(0.0, seed=10 + s) for s in (1, 2, 3)}
    analysis = analyse(seeded("a", a), seeded("b", b))
    assert verdict_of(analysis).label == "inconclusive"
    assert "seeds" in verdict_of(analysis).settle
    alone = {e.seed: e.estimate for e in analysis.by_seed}
    assert ends(alone[1])[1] < 0 < ends(alone[2])[0]
    (spread,) = analysis.spreads
    assert spread.share > 0.9  # more films would not help
    assert spread.variance.value == pytest.approx(np.var([-0.6, 0.5, -0.1], ddof=1), rel=0.3)


def test_one_seed_is_clustered_by_film_alone() -> None:
    finding = contrast_of(analyse(untrained("a", noisy(-0.5, seed=1)), untrained("b", noisy(0, seed=2))))
    assert sure(finding.verdict).label == "better"
    assert finding.estimate.df == pytest.approx(5)  # six films of equal size
    assert finding.estimate.n == 12


def test_an_untrained_arm_counts_once_and_its_copies_add_nothing() -> None:
    same = noisy(0, seed=4)
    base = seeded("b", {1: same, 2: same, 3: same}, is_trained=False)
    analysis = analyse(seeded("a", {s: noisy(-0.5, seed=s) for s in (1, 2, 3)}), base)
    (of_base,) = [f for f in analysis.findings if f.variant == "b"]
    assert of_base.estimate.n == 12
    assert contrast_of(analysis).estimate.n == 12


@pytest.mark.parametrize("kind", ["rare", "torn"])
def test_a_rate_has_an_interval_within_what_a_rate_can_be(kind: str) -> None:
    rare = {seed: [1.0 if i == seed else 0.0 for i in range(12)] for seed in (1, 2, 3)}
    torn = {1: [1.0] * 11 + [0.0], 2: [0.0] * 11 + [1.0], 3: [0.0, 1.0] * 6}  # its contrast reaches beyond ± 1
    sides = [seeded("a", {"rare": rare, "torn": torn}[kind]), seeded("b", {s: [0.0] * 12 for s in (1, 2, 3)})]
    found = analyse(*sides, rule=RATE).findings
    (of_rare,) = [f for f in found if f.variant == "a"]
    (difference,) = [f for f in found if f.contrast is not None]
    low, high = ends(of_rare.estimate)
    assert 0 < low < of_rare.estimate.value < high < 1
    low, high = ends(difference.estimate)
    assert -1 <= low < 0 < high <= 1  # a difference of rates may be negative
    assert ("cut at the end of what a share can be" in difference.estimate.notes) == (kind == "torn")


def test_a_lost_seed_is_counted_as_missing_and_the_rest_is_paired() -> None:
    a = seeded("a", {1: noisy(-0.5, seed=1), 3: noisy(-0.5, seed=3)}, n_lost=1)
    finding = contrast_of(analyse(a, seeded("b", {s: noisy(0, seed=10 + s) for s in (1, 2, 3)})))
    assert (finding.estimate.n, finding.estimate.n_missing, finding.estimate.df) == pytest.approx((12, 12, 1))


def test_an_arm_that_is_lost_altogether_leaves_no_contrast_and_makes_no_other_easier() -> None:
    b = seeded("b", {1: noisy(0, seed=1), 2: noisy(0, seed=2)})
    only = analyse(b, contrasts=[A_B, *design_of().contrasts])
    assert [f.variant for f in only.findings if f.estimate.n] == ["b"]
    assert only.absences[0].variants == ("a",)
    assert "has no value for `a`" in verdict_of(only).reason


def test_an_arms_interval_is_a_function_of_its_rows() -> None:
    """Twenty prompts by ten films and one seed: bootstrapped, and the same under two names and beside another arm."""
    rows, others = noisy(0, seed=1, n=20), noisy(1, seed=2, n=20)
    first, second, _ = (f.estimate for f in analyse(seeded("a", {1: rows}), seeded("b", {1: rows})).findings)
    other, third, _ = (f.estimate for f in analyse(seeded("a", {1: others}), seeded("b", {1: rows})).findings)
    assert "bootstrap" in first.method
    assert first == second == third != other


def test_sign_flip_is_exact_by_film() -> None:
    a, b = [-1.0] * 12, [0.0] * 12
    finding = contrast_of(analyse(seeded("a", {1: a, 2: a}), seeded("b", {1: b, 2: b}), test="sign_flip"))
    assert sure(finding.verdict).p_value == pytest.approx(2 / 2**6)


@given(st.lists(st.floats(-3, 3), min_size=36, max_size=36))
def test_swapping_the_arms_turns_the_sign_and_nothing_else(values: list[float]) -> None:
    a = seeded("a", {s: list(values[12 * s : 12 * s + 12]) for s in range(3)})
    b = seeded("b", {s: list(values[::-1][12 * s : 12 * s + 12]) for s in range(3)})
    forth, back = paired_rows(a, b), paired_rows(b, a)
    assert forth is not None
    assert back is not None
    assert forth.values.tolist() == (-back.values).tolist()
    assert forth.seeds.tolist() == back.seeds.tolist()
    assert (forth.n_clusters, forth.n_missing) == (back.n_clusters, back.n_missing)


def test_more_seeds_settle_what_seeds_scatter_and_more_films_what_films_scatter() -> None:
    rng = np.random.default_rng(3)
    seeds = np.repeat(range(4), 40)
    films = np.tile(np.repeat(range(20), 2), 4)
    noise = 0.02 * rng.standard_normal(160)
    by_seed = np.repeat(rng.standard_normal(4), 40) * 0.3 + noise
    by_film = np.tile(np.repeat(rng.standard_normal(20), 2), 4) * 0.6 + noise
    scattered = crossed_plan(seed_pilot(by_seed, seeds=seeds, clusters=films), effect=0.2)
    assert scattered.n_seeds is not None
    assert scattered.n_seeds > 4
    assert scattered.n_clusters is None
    filmed = crossed_plan(seed_pilot(by_film, seeds=seeds, clusters=films), effect=0.3)
    assert filmed.n_clusters is not None
    assert filmed.n_clusters > 20


@pytest.mark.parametrize(("seeds", "films"), [([1, 1], ["a", "b"]), ([1, 2], ["a", "a"])])
def test_one_seed_or_one_film_is_no_pilot(seeds: list[int], films: list[str]) -> None:
    with pytest.raises(InputError, match="take a larger pilot"):
        seed_pilot([0.1, 0.2], seeds=seeds, clusters=films)


def test_a_factorial_gives_the_main_effects_and_the_interaction_that_least_squares_gives() -> None:
    import pandas as pd
    import statsmodels.formula.api as smf

    cells = {"lo_off": (-1, -1), "lo_on": (-1, 1), "hi_off": (1, -1), "hi_on": (1, 1)}
    values = {
        name: {seed: noisy(0.3 * a - 0.2 * b + 0.15 * a * b, seed=10 * place + seed) for seed in (1, 2, 3)}
        for place, (name, (a, b)) in enumerate(cells.items())
    }
    table = pd.DataFrame(
        [
            {"a": cells[n][0], "b": cells[n][1], "y": y}
            for n, seeds in values.items()
            for ys in seeds.values()
            for y in ys
        ]
    )
    fitted = smf.ols("y ~ a * b", table).fit().params
    contrasts = [
        ContrastDesign(name="a", arms=(("hi_off", "hi_on"), ("lo_off", "lo_on"))),
        ContrastDesign(name="b", arms=(("lo_on", "hi_on"), ("lo_off", "hi_off"))),
        ContrastDesign(name="a.b", arms=(("hi_on", "lo_off"), ("hi_off", "lo_on"))),
    ]
    found = analyse(*(seeded(*each) for each in values.items()), contrasts=contrasts, variants=tuple(values))
    effects = {f.contrast: f.estimate for f in found.findings if f.contrast is not None}
    for name, term in (("a", "a"), ("b", "b"), ("a.b", "a:b")):
        assert effects[name].value == pytest.approx(2 * fitted[term])  # coded -1 and 1: a coefficient is half an effect
        assert (effects[name].n, effects[name].n_crossed) == (12, 3)


def test_a_side_with_a_hole_in_one_arm_has_no_value_there() -> None:
    full, holed = noisy(0, seed=1), [None, *noisy(0, seed=2)[1:]]
    side = side_of([seeded("a", {1: full}), seeded("b", {1: holed})])
    assert side is not None
    assert side.by_seed[1].rows.n_missing == 1
    assert [source.run_id for source in side.sources] == ["a", "b"]
    assert side_of([seeded("a", {1: full}), None]) is None


def test_advice_that_nobody_can_follow_is_not_given() -> None:
    def said(**numbers: Any) -> str:
        plan = CrossedPlan(**{"n_seeds": None, "n_clusters": None, "n_times": None} | numbers, effect=0.02)
        return settling_sentence(plan, n_seeds=3, n_films=10, prompts_per_film=8, is_declared=True)

    assert said(n_seeds=12, n_clusters=11_490) == (
        "About 9 more seeds on these 10 films would show a difference of 0.02 80% of the time."
    )
    assert "6 more seeds together with 20 more films (160 more prompts)" in said(n_clusters=11_490, n_times=3)
    assert "ask for a larger difference" in said(n_clusters=11_490, n_times=90)


def test_pairs_that_one_arm_lacks_are_counted_as_missing_never_filled() -> None:
    a, b = noisy(-1, seed=1, n=60), noisy(0, seed=2, n=60)
    a[6] = b[0] = None
    found = [f.estimate for f in analyse(untrained("a", a), untrained("b", b)).findings]
    assert [(estimate.n, estimate.n_missing) for estimate in found] == [(59, 1), (59, 1), (58, 2)]


def test_a_judge_that_may_not_claim_is_exploratory_whatever_it_shows() -> None:
    rule = replace(LOSS, exploratory_reason="It judges its own family.")
    told = verdict_of(analyse(untrained("a", noisy(-1, seed=1)), untrained("b", noisy(0, seed=2)), rule=rule))
    assert (told.label, told.reason) == ("exploratory", "It judges its own family.")


def test_a_verdict_speaks_of_what_was_resampled_by_its_own_name() -> None:
    def found(shift: float, n_films: int) -> tuple[Finding, ...]:
        arms = (("a", shift, 1), ("b", 0, 2))
        sides = [untrained(n, noisy(by, seed=seed, n=5 * n_films), per_film=5) for n, by, seed in arms]
        return analyse(*sides, rule=NATS, min_clusters=10).findings

    for noun in ("film", "prompt", "cluster"):
        (open_,) = [f.verdict for f in label_clusters(found(0.02, 12), (), noun=noun) if f.verdict]
        (lacking,) = [f.verdict for f in label_clusters(found(-1, 4), (), noun=noun) if f.verdict]
        assert re.search(rf"[\d,]+ more {noun}s", open_.settle)
        assert ("more prompts)" in open_.settle) == (noun != "prompt")  # there a prompt more is a cluster more
        assert lacking.reason.startswith(f"Too few {noun}s")
        assert lacking.settle == f"At least 6 more {noun}s."


def test_a_rate_has_a_rates_interval_and_its_warning_in_few_films() -> None:
    """One reply in 60 is cut off: the interval stays inside [0, 1], and 12 films are too few for its coverage."""
    hits = untrained("b", [float(i == 7) for i in range(60)], per_film=5)
    (finding,) = analyse(hits, rule=RATE, contrasts=(), variants=("b",)).findings
    assert 0 < ends(finding.estimate)[0] < finding.estimate.value == pytest.approx(1 / 60)
    assert "logit" in finding.estimate.method
    assert finding.estimate.notes == ("rare in 12 clusters: clusters without a hit say little",)


def test_shares_of_wins_are_a_rate_that_stays_a_share_and_the_controls_half_is_known() -> None:
    won, half = untrained("a", (1.0, 1.0, 0.5, 1.0, 1.0, 0.0)), untrained("b", (0.5,) * 6)
    a, b, contrast = (f.estimate for f in analyse(won, half, rule=replace(RATE, better="higher")).findings)
    assert "logit" in a.method
    assert 0 < ends(a)[0] < a.value == 0.75 < ends(a)[1] < 1
    assert ends(b) == (0.5, 0.5)
    assert -1 <= ends(contrast)[0] < ends(contrast)[1] <= 1


def test_one_arm_twice_is_refused() -> None:
    with pytest.raises(InputError, match="stands twice"):
        analyse(*[untrained("a", noisy(0, seed=1))] * 2)


def test_a_contrast_that_could_not_be_tested_still_costs_its_place_in_the_family() -> None:
    arms = [untrained("a", noisy(-0.02, seed=1)), untrained("b", noisy(0, seed=2))]
    declared = (A_B, ContrastDesign(name="dpo-b", arms=("dpo", "b")))
    alone, both = (verdict_of(analyse(*arms, rule=NATS, contrasts=declared[:n])) for n in (1, 2))
    assert alone.p_value == both.p_value
    assert both.p_adjusted == pytest.approx(min(1.0, 2 * sure(alone.p_adjusted)))


def test_an_effect_in_units_of_the_control_uses_its_spread() -> None:
    control = untrained("b", noisy(0, seed=2)).pooled()
    deviation = np.std([sure(row.value) for row in control.rows], ddof=1)
    effect = smallest_effect_in_units(EffectDesign(value=0.2, unit="sd_of_control"), control)
    assert effect == pytest.approx(0.2 * deviation)
    assert smallest_effect_in_units(EffectDesign(value=0.2, unit="points"), control) == 0.2
