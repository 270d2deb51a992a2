"""Arms × seeds to findings: a verdict about the recipe takes seeds as a level crossed with films.

Every seed is a training of its own on the same prompts. A contrast pairs prompts within a seed; its variance counts
what films share and what seeds share, each as far as it shows (`harness.stats.crossed`).
With one seed, or where seeds change nothing, the contrast is clustered by film alone and speaks of these adapters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from harness import stats
from harness.errors import InputError
from harness.experiment.analysis.absence import absent_rows, not_measured
from harness.experiment.analysis.contrasts import (
    MeasuredArm,
    MeasureRule,
    Pending,
    asked,
    measures_of,
    smallest_effect_in_units,
    sources_of,
    unmeasured_findings,
    untested_finding,
    with_verdicts,
    within_rates,
    within_share,
    without_pairs,
)
from harness.experiment.analysis.settling import settling_sentence
from harness.experiment.analysis.values import Lacking, Row, Rows, mean_rows, per_prompt
from harness.experiment.arms import AblationFamily
from harness.experiment.design import ContrastDesign
from harness.reporting.ablation_record import SeedEstimate, SeedSpread
from harness.seeding import stream_of_rows
from harness.stats.crossed_power import crossed_plan
from harness.types import Absence, Estimate, Finding, Source

if TYPE_CHECKING:
    from harness.stats.results import TestResult

MIN_SEEDS_CROSSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededArm:
    """One measure of one arm, with its rows from every seed that was run."""

    measure: str
    arm: str
    by_seed: Mapping[int, MeasuredArm]
    is_trained: bool  # False: the base as it is, whose rows are the same for every seed
    n_seeds_lost: int = 0  # trainings that should be there and failed
    judge_id: str | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the rows of every seed stand, each place once."""
        return sources_of(list(self.by_seed.values()))

    def pooled(self) -> MeasuredArm:
        """All seeds' rows as one measured arm, e.g. to take a standard deviation of; an untrained arm counts once."""
        chosen = list(self.by_seed.values()) if self.is_trained else list(self.by_seed.values())[:1]
        rows = Rows.of(
            replace(row, prompt_id=f"{place}:{row.prompt_id}")
            for place, measured in enumerate(chosen)
            for row in measured.rows
        )
        return replace(chosen[0], rows=rows, sources=self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Paired differences of one contrast, a row per seed and prompt."""

    values: tuple[float, ...]
    treatment: tuple[float, ...]
    reference: tuple[float, ...]
    seeds: tuple[int, ...]
    prompts: tuple[str, ...]
    clusters: tuple[str, ...]
    n_missing: int
    lacking: Lacking  # of the seeds that came through
    is_crossed: bool  # whether seeds are a level: several, and at least one arm is trained

    @property
    def n_clusters(self) -> int:
        """Films."""
        return len(set(self.clusters))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededAnalysis:
    """What arms × seeds give."""

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
    family: AblationFamily,
    min_clusters: int,
    seed: int,
    variants: Sequence[str],
    absences: Sequence[Absence] = (),
) -> SeededAnalysis:
    """Findings of every arm and contrast; a contrast of which an arm is lost altogether is not tested, and counts.

    `variants` are all declared arms, `absences` what is known to be absent, and chance comes from `seed` and a number's
    own rows, as in `analysis.analyse`.
    """
    by_key = {(arm.measure, arm.arm, arm.judge_id): arm for arm in arms}
    if len(by_key) != len(arms):
        raise InputError("`arms` must hold one entry per measure, arm and judge; one stands twice")
    counts = {
        name: {a.arm: sum(len(m.rows.there()) for m in a.by_seed.values()) for a in arms if a.measure == name}
        for name in rules
    }
    absences = (*absences, *absent_rows(counts, variants=variants, known=absences))
    findings = [_of_arm(arm, rules[arm.measure], family=family, seed=seed) for arm in arms]
    findings += unmeasured_findings(counts, rules, variants, level=family.level)
    untested: list[Finding] = []
    pending: list[Pending] = []
    by_seed: list[SeedEstimate] = []
    spreads: list[SeedSpread] = []
    plans: list[Differences] = []
    n_tests = max(1, len(family.measures) * len(contrasts))
    for measure, judge_id in measures_of(arms, rules):
        for contrast in contrasts:
            treatment, reference = (
                side_of([by_key.get((measure, name, judge_id)) for name in side]) for side in contrast.sides
            )
            rows = None if treatment is None or reference is None else paired_rows(treatment, reference)
            if treatment is None or reference is None or rows is None or not rows.values:
                n = 0 if rows is None else rows.n_missing
                lost = untested_finding(
                    rules[measure], contrast, judge_id, family=family, absences=absences, n_missing=n
                )
                untested.append(lost)
                continue
            of_control = by_key.get((measure, control, judge_id))
            effect = smallest_effect_in_units(
                rules[measure].smallest_effect, None if of_control is None else of_control.pooled()
            )
            test = _test(rows, measure=measure, family=family, n_tests=n_tests, seed=seed)
            test = within_rates(test, rules[measure])
            finding = Finding(
                name=measure,
                estimate=test.estimate,
                unit=rules[measure].unit,
                better=rules[measure].better,
                contrast=contrast.name,
                judge_id=judge_id,
                sources=treatment.sources + reference.sources,
            )
            pending.append(
                Pending(
                    finding=finding,
                    test=test,
                    rule=rules[measure],
                    smallest_effect=effect,
                    in_family=measure in family.measures,
                    contrast=contrast,
                    lacking=asked(rows.lacking, rules[measure]),
                )
            )
            plans.append(rows)
            by_seed += _each_seed(rows, rules[measure], contrast.name, judge_id, level=family.level)
            spreads += _spread(rows, measure, contrast.name, judge_id, level=family.level)
    judged = with_verdicts(pending, family=family, n_declared=n_tests, min_clusters=min_clusters, absences=absences)
    settled = tuple(
        _with_plan(finding, before, rows, level=family.level, n_tests=n_tests)
        for finding, before, rows in zip(judged.findings, pending, plans, strict=True)
    )
    return SeededAnalysis(
        findings=(*findings, *settled, *untested),
        by_seed=tuple(by_seed),
        spreads=tuple(spreads),
        absences=(*judged.absences, *without_pairs(untested, contrasts, known=absences)),
    )


def side_of(members: Sequence[SeededArm | None]) -> SeededArm | None:
    """One side of a contrast: an arm, or the mean of several within each seed; None where one of them is lost."""
    found = [arm for arm in members if arm is not None]
    if len(found) < len(members):
        return None
    if len(found) == 1:
        return found[0]
    trained = [arm for arm in found if arm.is_trained]
    shared = [seed for seed in found[0].by_seed if all(seed in arm.by_seed for arm in found)]
    return SeededArm(
        measure=found[0].measure,
        arm=", ".join(arm.arm for arm in found),
        by_seed={
            seed: replace(
                found[0].by_seed[seed],
                rows=mean_rows([arm.by_seed[seed].rows for arm in found]),
                sources=sources_of([arm.by_seed[seed] for arm in found]),
            )
            for seed in shared
        },
        is_trained=bool(trained),
        n_seeds_lost=max(arm.n_seeds_lost for arm in found),
        judge_id=found[0].judge_id,
    )


def by_prompt(rows: Rows) -> dict[str, Row]:
    """One row a prompt, by the prompt's id."""
    return {row.prompt_id: row for row in per_prompt(rows)}


def paired_rows(treatment: SeededArm, reference: SeededArm) -> Differences:
    """Pair prompts within each seed that both arms have; what one of them lacks is counted as missing."""
    rows: list[tuple[float, float, int, str, str]] = []
    n_missing = 0
    sides: list[tuple[Row | None, Row | None]] = []
    both = [seed for seed in treatment.by_seed if seed in reference.by_seed]
    is_crossed = len(both) >= MIN_SEEDS_CROSSED and (treatment.is_trained or reference.is_trained)
    for seed in both if is_crossed or treatment.is_trained or reference.is_trained else both[:1]:
        first, second = by_prompt(treatment.by_seed[seed].rows), by_prompt(reference.by_seed[seed].rows)
        found = [
            (a, b, seed, key, first[key].cluster)
            for key in sorted(first.keys() & second.keys())
            if (a := first[key].value) is not None and (b := second[key].value) is not None
        ]
        everywhere = first.keys() | second.keys()
        n_missing += len(everywhere) - len(found)
        rows += found
        sides += [(first.get(key), second.get(key)) for key in sorted(everywhere)]
    n_per_seed = max((len(measured.rows) for measured in treatment.by_seed.values()), default=0)
    n_missing += n_per_seed * max(treatment.n_seeds_lost, reference.n_seeds_lost)
    return Differences(
        values=tuple(a - b for a, b, *_ in rows),
        treatment=tuple(row[0] for row in rows),
        reference=tuple(row[1] for row in rows),
        seeds=tuple(row[2] for row in rows),
        prompts=tuple(row[3] for row in rows),
        clusters=tuple(row[4] for row in rows),
        n_missing=n_missing,
        lacking=Lacking.of(sides),
        is_crossed=is_crossed,
    )


def _test(rows: Differences, *, measure: str, family: AblationFamily, n_tests: int, seed: int) -> TestResult:
    if family.test == "sign_flip":
        told = zip(rows.seeds, rows.clusters, rows.prompts, rows.values, strict=True)
        return stats.sign_flip(
            rows.treatment,
            rows.reference,
            clusters=rows.clusters,
            rng=stream_of_rows(seed, "sign flip", measure, rows=told),
            family_size=n_tests,
            level=family.level,
            n_missing=rows.n_missing,
        )
    if rows.is_crossed:
        test = stats.seed_contrast(
            rows.values, seeds=rows.seeds, clusters=rows.clusters, level=family.level, n_missing=rows.n_missing
        )
        return replace(test, estimate=_counted(test.estimate, prompts=rows.prompts))
    return stats.paired_contrast(
        rows.treatment, rows.reference, clusters=rows.clusters, level=family.level, n_missing=rows.n_missing
    )


def _counted(estimate: Estimate, *, prompts: Iterable[str]) -> Estimate:
    """A prompt counts once however many seeds answered it."""
    return replace(estimate, n=len(set(prompts)), notes=(*estimate.notes, "each prompt once a seed"))


def _of_arm(arm: SeededArm, rule: MeasureRule, *, family: AblationFamily, seed: int) -> Finding:
    seeds = list(arm.by_seed) if arm.is_trained else list(arm.by_seed)[:1]
    rows = [(seed, row) for seed in seeds for row in per_prompt(arm.by_seed[seed].rows)]
    present = [(seed, row.cluster, row.value, row.prompt_id) for seed, row in rows if row.value is not None]
    n_missing = len(rows) - len(present) + arm.n_seeds_lost * (len(rows) // max(1, len(seeds)))
    values, clusters = [value for _, _, value, _ in present], [cluster for _, cluster, _, _ in present]
    if not present:
        estimate = not_measured(n_missing=n_missing, level=family.level)
    elif len(seeds) >= MIN_SEEDS_CROSSED:
        crossed = partial(
            stats.crossed_share if rule.is_rate else stats.crossed_mean,
            first=[seed for seed, *_ in present],
            second=clusters,
            names=("seed", "film"),
            level=family.level,
            n_missing=n_missing,
        )
        found = crossed(values)
        estimate = found if isinstance(found, Estimate) else found.estimate
        estimate = _counted(estimate, prompts=[prompt for *_, prompt in present])
    elif rule.is_rate:
        estimate = stats.proportion_estimate(values, clusters=clusters, level=family.level, n_missing=n_missing)
    else:
        rng = stream_of_rows(seed, "estimates", arm.measure, rows=zip(clusters, values, strict=True))
        estimate = stats.mean_estimate(values, clusters=clusters, rng=rng, level=family.level, n_missing=n_missing)
    return Finding(
        name=arm.measure,
        estimate=within_share(estimate, rule),
        unit=rule.unit,
        better=rule.better,
        variant=arm.arm,
        judge_id=arm.judge_id,
        sources=arm.sources,
    )


def _each_seed(
    rows: Differences, rule: MeasureRule, contrast: str, judge_id: str | None, *, level: float
) -> list[SeedEstimate]:
    """The contrast of each seed by itself, clustered by film."""
    if not rows.is_crossed:
        return []
    found = []
    for seed in dict.fromkeys(rows.seeds):
        places = [i for i, other in enumerate(rows.seeds) if other == seed]
        test = stats.paired_contrast(
            [rows.treatment[i] for i in places],
            [rows.reference[i] for i in places],
            clusters=[rows.clusters[i] for i in places],
            level=level,
        )
        found.append(
            SeedEstimate(
                measure=rule.name,
                contrast=contrast,
                seed=seed,
                estimate=within_rates(test, rule).estimate,
                judge_id=judge_id,
            )
        )
    return found


def _spread(rows: Differences, measure: str, contrast: str, judge_id: str | None, *, level: float) -> list[SeedSpread]:
    if not rows.is_crossed or rows.n_clusters < 2:
        return []
    found = stats.seed_components(rows.values, seeds=rows.seeds, clusters=rows.clusters, level=level)
    spread = SeedSpread(
        measure=measure, contrast=contrast, variance=found.seed, share=found.seed_share, judge_id=judge_id
    )
    return [spread]


def _with_plan(finding: Finding, before: Pending, rows: Differences, *, level: float, n_tests: int) -> Finding:
    """Over seeds, what would settle a contrast is more seeds or more films, not more films alone."""
    verdict = finding.verdict
    if (
        verdict is None
        or verdict.label != "inconclusive"
        or verdict.withheld
        or not rows.is_crossed
        or not finding.estimate.has_interval
    ):
        return finding
    smallest, seen = before.smallest_effect or 0.0, abs(finding.estimate.value)
    effect = max(smallest, seen)
    if effect == 0 or not math.isfinite(effect):
        return finding
    size = n_tests if before.in_family else 1
    plan = crossed_plan(rows.values, seeds=rows.seeds, clusters=rows.clusters, effect=effect, level=level, n_tests=size)
    if plan is None:
        return finding
    sentence = settling_sentence(
        plan,
        n_seeds=len(set(rows.seeds)),
        n_films=rows.n_clusters,
        prompts_per_film=len(set(rows.prompts)) / rows.n_clusters,
        is_declared=smallest >= seen,
    )
    return replace(finding, verdict=replace(verdict, settle=sentence))
