"""Arms × seeds to findings: a verdict about the recipe takes seeds as a level crossed with films.

Every seed is a training of its own on the same prompts. A contrast pairs prompts within a seed; its variance counts
what films share and what seeds share, each as far as it shows (`harness.stats.crossed`).
With one seed, or where seeds change nothing, the contrast is clustered by film alone and speaks of these adapters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.errors import InputError
from harness.experiment.analysis.absence import absent_rows, arms_of, not_measured
from harness.experiment.analysis.contrasts import (
    MeasureRule,
    Pending,
    finding_of,
    is_sampled_rate,
    measures_of,
    smallest_effect_in_units,
    unmeasured_findings,
    untested_finding,
    with_verdicts,
    within_share,
    without_pairs,
)
from harness.experiment.analysis.seeded import SeededArm, paired_sides
from harness.experiment.analysis.values import MIN_SEEDS_CROSSED, Differences, counted, recoded
from harness.experiment.design import ContrastDesign, FamilyDesign
from harness.reporting.ablation_record import SeedEstimate, SeedSpread
from harness.seeding import stream_of_rows
from harness.stats.crossed_power import CrossedPlan, crossed_plan, seed_pilot
from harness.stats.rows import MOST_TIMES, Coded
from harness.types import Absence, Finding

if TYPE_CHECKING:
    from harness.stats.outcomes import TestResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What arms × seeds give, and what was declared and is not among it."""

    findings: tuple[Finding, ...]
    by_seed: tuple[SeedEstimate, ...]
    spreads: tuple[SeedSpread, ...]
    absences: tuple[Absence, ...]


def analyse_seeds(
    arms: Sequence[SeededArm],
    *,
    rules: Mapping[str, MeasureRule],
    contrasts: Sequence[ContrastDesign],
    control: str,
    family: FamilyDesign,
    min_clusters: int,
    seed: int,
    variants: Sequence[str],
    absences: Sequence[Absence] = (),
) -> Analysis:
    """Findings of every arm and contrast; a contrast of which an arm is lost altogether is not tested, and counts.

    `variants` are all declared arms, `absences` what is known to be absent, and chance comes from `seed` and a number's
    own rows, as in `analysis.analyse`.
    """
    by_key = {(arm.measure, arm.arm, arm.judge_id): arm.by_prompt() for arm in arms}
    if len(by_key) != len(arms):
        raise InputError("`arms` must hold one entry per measure, arm and judge; one stands twice")
    arms = list(by_key.values())
    counts = {
        name: {a.arm: sum(len(m.rows.there()) for m in a.by_seed.values()) for a in arms if a.measure == name}
        for name in rules
    }
    absences = (*absences, *absent_rows(counts, variants=variants, known=absences))
    findings = [_of_arm(arm, rules[arm.measure], level=family.level, seed=seed) for arm in arms]
    findings += unmeasured_findings(counts, rules, variants, level=family.level)
    untested: list[Finding] = []
    pending: list[Pending] = []
    n_tests = len(family.measures) * len(contrasts)
    for measure, judge_id in measures_of(arms, rules):
        rule, by_arm = rules[measure], {a.arm: a for a in arms if (a.measure, a.judge_id) == (measure, judge_id)}
        of_control = by_arm[control].pooled() if control in by_arm else None
        effect = smallest_effect_in_units(rule.smallest_effect, of_control)
        for contrast in contrasts:
            rows = paired_sides(by_arm, contrast.sides)
            if rows is None or not len(rows):
                n = _n_asked(arms, measure, contrast) if rows is None else rows.n_missing
                lost = untested_finding(rule, contrast, judge_id, family=family, absences=absences, n_missing=n)
                untested.append(lost)
                continue
            test = _test(rows, measure=measure, family=family, n_tests=n_tests, seed=seed)
            test = replace(test, estimate=within_share(test.estimate, rule, low=-1))
            of: dict[str, Any] = {"contrast": contrast.name, "judge_id": judge_id, "sources": rows.sources}
            pending.append(
                Pending(
                    finding=finding_of(rule, test.estimate, **of),
                    test=test,
                    rule=rule,
                    smallest_effect=effect,
                    in_family=measure in family.measures,
                    contrast=contrast,
                    rows=rows,
                )
            )
    judged, absences = with_verdicts(
        pending, family=family, n_declared=n_tests, min_clusters=min_clusters, absences=absences
    )
    settled = [
        _with_plan(finding, before, level=family.level, n_tests=n_tests)
        for finding, before in zip(judged, pending, strict=True)
    ]
    return Analysis(
        findings=(*findings, *settled, *untested),
        by_seed=tuple(each for tested in pending for each in _each_seed(tested, level=family.level)),
        spreads=tuple(spread for tested in pending for spread in _spread(tested, level=family.level)),
        absences=(*absences, *without_pairs(untested, contrasts, known=absences)),
    )


def _n_asked(arms: Sequence[SeededArm], measure: str, contrast: ContrastDesign) -> int:
    """Rows of the arm of a contrast that has most, where its arms never meet."""
    asked_of = [a for a in arms if a.measure == measure and a.arm in arms_of(contrast)]
    return max((len(measured.rows) for arm in asked_of for measured in arm.speaking), default=0)


def _test(rows: Differences, *, measure: str, family: FamilyDesign, n_tests: int, seed: int) -> TestResult:
    clustered: dict[str, Any] = {"clusters": rows.clusters.codes, "level": family.level, "n_missing": rows.n_missing}
    if family.test == "sign_flip":
        films, prompts = _labels(rows.clusters), _labels(rows.prompts)
        told = zip(rows.seeds.tolist(), films, prompts, rows.values.tolist(), strict=True)
        test = stats.sign_flip(
            rows.treatment,
            rows.reference,
            rng=stream_of_rows(seed, "sign flip", measure, rows=told),
            family_size=max(1, n_tests),
            **clustered,
        )
    elif rows.is_crossed:
        test = stats.seed_contrast(rows.values, seeds=rows.seeds, **clustered)
    else:
        test = stats.paired_contrast(rows.treatment, rows.reference, **clustered)
    return replace(test, estimate=rows.counted(test.estimate))


def _labels(coded: Coded) -> list[Hashable]:
    return [coded.labels[code] for code in coded.codes]


def _of_arm(arm: SeededArm, rule: MeasureRule, *, level: float, seed: int) -> Finding:
    seeds = arm.speaking
    there = [measured.rows.there() for measured in seeds]
    values = np.concatenate([rows.values for rows in there])
    clusters = recoded([rows.clusters for rows in there])
    n_asked = sum(len(measured.rows) for measured in seeds)
    n_missing = n_asked - len(values) + arm.n_seeds_lost * (n_asked // len(seeds))
    how: dict[str, Any] = {"level": level, "n_missing": n_missing}
    if not len(values):
        estimate = not_measured(**how)
    elif len(seeds) >= MIN_SEEDS_CROSSED:
        first = np.repeat(np.arange(len(there)), [len(rows) for rows in there])
        names = ("seed", "film")
        crossed: dict[str, Any] = {"first": first, "second": clusters.codes, "names": names, **how}
        is_rate = is_sampled_rate(values, rule)
        estimate = stats.crossed_share(values, **crossed) if is_rate else stats.crossed_mean(values, **crossed).estimate
        n_prompts = len({label for rows in there for label in _labels(rows.prompts)})
        estimate = counted(estimate, n_prompts=n_prompts, n_seeds=sum(len(rows) > 0 for rows in there))
    elif is_sampled_rate(values, rule):
        estimate = stats.proportion_estimate(values, clusters=clusters.codes, **how)
    else:
        rows_of = zip(_labels(clusters), values.tolist(), strict=True)
        rng = stream_of_rows(seed, "estimates", arm.measure, rows=rows_of)
        estimate = stats.mean_estimate(values, clusters=clusters.codes, rng=rng, **how)
    of: dict[str, Any] = {"variant": arm.arm, "judge_id": arm.judge_id, "sources": arm.sources}
    return finding_of(rule, within_share(estimate, rule), **of)


def _each_seed(tested: Pending, *, level: float) -> Iterator[SeedEstimate]:
    """The contrast of each seed by itself, clustered by film."""
    rows = tested.rows
    for seed in dict.fromkeys(rows.seeds.tolist()) if rows.is_crossed else ():
        of_seed = rows.seeds == seed
        test = stats.paired_contrast(
            rows.treatment[of_seed], rows.reference[of_seed], clusters=rows.clusters.codes[of_seed], level=level
        )
        yield SeedEstimate(
            measure=tested.rule.name,
            contrast=tested.contrast.name,
            seed=seed,
            estimate=within_share(test.estimate, tested.rule, low=-1),
            judge_id=tested.finding.judge_id,
        )


def _spread(tested: Pending, *, level: float) -> Iterator[SeedSpread]:
    """How much of a contrast's variance its seeds make."""
    rows = tested.rows
    if rows.is_crossed and rows.n_clusters >= 2:
        found = stats.seed_components(rows.values, seeds=rows.seeds, clusters=rows.clusters.codes, level=level)
        yield SeedSpread(
            measure=tested.rule.name,
            contrast=tested.contrast.name,
            variance=found.seed,
            share=found.seed_share,
            judge_id=tested.finding.judge_id,
        )


def _with_plan(finding: Finding, before: Pending, *, level: float, n_tests: int) -> Finding:
    """Over seeds, what would settle a contrast is more seeds or more films, not more films alone."""
    verdict, rows = finding.verdict, before.rows
    if verdict is None or verdict.label != "inconclusive" or verdict.withheld:
        return finding
    smallest, seen = before.smallest_effect or 0.0, abs(finding.estimate.value)
    effect = max(smallest, seen)
    if not rows.is_crossed or not finding.estimate.has_interval or effect == 0 or not math.isfinite(effect):
        return finding
    size = max(1, n_tests) if before.in_family else 1
    pilot = seed_pilot(rows.values, seeds=rows.seeds, clusters=rows.clusters.codes, level=level, n_tests=size)
    sentence = settling_sentence(
        crossed_plan(pilot, effect=effect),
        n_seeds=rows.n_seeds,
        n_films=rows.n_clusters,
        prompts_per_film=rows.n_prompts / rows.n_clusters,
        is_declared=smallest >= seen,
    )
    return replace(finding, verdict=replace(verdict, settle=sentence))


def settling_sentence(
    plan: CrossedPlan, *, n_seeds: int, n_films: int, prompts_per_film: float, is_declared: bool
) -> str:
    """How many more seeds, films or both would show the difference 80 % of the time."""
    target = f"a difference of {plan.effect:.3g}" + ("" if is_declared else ", the one seen,")
    if plan.n_seeds == n_seeds or plan.n_clusters == n_films:
        return (
            f"{n_seeds} seeds on {n_films} films show {target} 80% of the time: this was one of the other times, or "
            "the true difference is smaller."
        )
    ways = []
    if plan.n_seeds is not None and plan.n_seeds <= MOST_TIMES * n_seeds:
        ways.append(f"{plan.n_seeds - n_seeds} more seeds on these {n_films} films")
    if plan.n_clusters is not None and plan.n_clusters <= MOST_TIMES * n_films:
        ways.append(f"{_more_films(plan.n_clusters - n_films, prompts_per_film)} with these {n_seeds} seeds")
    if not ways and plan.n_times is not None and plan.n_times <= MOST_TIMES:
        seeds, films = (plan.n_times - 1) * n_seeds, (plan.n_times - 1) * n_films
        ways.append(f"{seeds} more seeds together with {_more_films(films, prompts_per_film)}")
    if not ways:
        return f"Not {MOST_TIMES} times as many seeds and films would show {target}: ask for a larger difference."
    return f"About {', or '.join(ways)} would show {target} 80% of the time."


def _more_films(n: int, prompts_per_film: float) -> str:
    return f"{n:,} more films ({math.ceil(n * prompts_per_film):,} more prompts)"
