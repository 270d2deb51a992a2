"""From rows to findings: every variant's number, every contrast's difference, and what may be claimed of it.

No arithmetic lives here: means, contrasts, adjustments and verdicts come from `harness.stats`. What lives here is which
rows belong together (the same prompt), what is missing, which contrasts form the family, and which judges may claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import stats
from harness.ablation.design import ContrastDesign, EffectDesign, FamilyDesign
from harness.ablation.rows import Rows, mean_rows, pair, per_prompt
from harness.errors import InputError
from harness.types import Direction, Estimate, Finding, Source, Verdict

if TYPE_CHECKING:
    import numpy as np

    from harness.stats.results import TestResult


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredArm:
    """The rows of one measure and one variant, and where they are stored."""

    measure: str
    variant: str
    rows: Rows
    sources: tuple[Source, ...]
    judge_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRule:
    """How a measure is read and what it may claim."""

    name: str
    unit: str
    better: Direction | None
    smallest_effect: EffectDesign | None = None
    is_rate: bool = False  # every row is a share in [0, 1]
    exploratory_reason: str = ""  # why it may claim nothing; empty: it may


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A contrast before the family's adjustment."""

    finding: Finding
    test: TestResult
    rule: MeasureRule
    smallest_effect: float | None  # in the measure's own unit
    in_family: bool


def analyse(
    arms: Sequence[MeasuredArm],
    *,
    rules: Mapping[str, MeasureRule],
    contrasts: Sequence[ContrastDesign],
    control: str,
    family: FamilyDesign,
    min_clusters: int,
    rng: np.random.Generator,
) -> tuple[Finding, ...]:
    """Findings of every variant and every contrast, in the order of the arms.

    Draws of one prompt are averaged first, so that a prompt counts once however often it was drawn. A contrast pairs
    prompts that both arms have; prompts that one of them lacks are counted as missing.
    """
    if len({(arm.measure, arm.variant, arm.judge_id) for arm in arms}) != len(arms):
        raise InputError("`arms` must hold one entry per measure, variant and judge; one stands twice")
    arms = [replace(arm, rows=per_prompt(arm.rows)) for arm in arms]
    by_key = {(arm.measure, arm.variant, arm.judge_id): arm for arm in arms}
    findings = [_of_variant(arm, rules[arm.measure], level=family.level, rng=rng) for arm in arms]
    pending = [
        found
        for measure, judge_id in dict.fromkeys((arm.measure, arm.judge_id) for arm in arms)
        for contrast in contrasts
        if (
            found := _of_contrast(
                contrast,
                treatment=_side([by_key.get((measure, name, judge_id)) for name in contrast.sides[0]]),
                reference=_side([by_key.get((measure, name, judge_id)) for name in contrast.sides[1]]),
                control=by_key.get((measure, control, judge_id)),
                rule=rules[measure],
                family=family,
            )
        )
    ]
    return tuple(f for f in findings if f is not None) + with_verdicts(
        pending, family=family, n_declared=len(family.measures) * len(contrasts), min_clusters=min_clusters
    )


def _side(members: Sequence[MeasuredArm | None]) -> MeasuredArm | None:
    """One side of a contrast; None where an arm of it was not measured."""
    found = [arm for arm in members if arm is not None]
    if len(found) < len(members):
        return None
    return replace(found[0], rows=mean_rows([arm.rows for arm in found]), sources=sources_of(found))


def sources_of(arms: Sequence[MeasuredArm]) -> tuple[Source, ...]:
    """Where the rows of several measured arms stand, each place once."""
    found: list[Source] = []
    for arm in arms:
        found += [source for source in arm.sources if source not in found]  # a source holds a mapping: no key of a dict
    return tuple(found)


def smallest_effect_in_units(effect: EffectDesign | None, control: MeasuredArm | None) -> float | None:
    """A declared smallest effect as a number in the measure's own unit; None where none was declared or known."""
    if effect is None:
        return None
    values: list[float] = [] if control is None else per_prompt(control.rows).there().values.tolist()
    if effect.unit in ("sd_of_control", "quantile_of_control") and len(set(values)) < 2:
        return None  # a control that does not vary has no such unit
    return stats.smallest_effect_in_units(effect.noun(), values)


def _of_variant(arm: MeasuredArm, rule: MeasureRule, *, level: float, rng: np.random.Generator) -> Finding | None:
    there = arm.rows.there()
    if not len(there):
        return None
    values, clusters, n_missing = there.values, there.clusters.codes, arm.rows.n_missing
    if rule.is_rate:
        estimate = stats.proportion_estimate(values, clusters=clusters, level=level, n_missing=n_missing)
    else:
        estimate = stats.mean_estimate(values, clusters=clusters, rng=rng, level=level, n_missing=n_missing)
    return Finding(
        name=arm.measure,
        estimate=estimate,
        unit=rule.unit,
        better=rule.better,
        variant=arm.variant,
        judge_id=arm.judge_id,
        sources=arm.sources,
    )


def _of_contrast(
    contrast: ContrastDesign,
    *,
    treatment: MeasuredArm | None,
    reference: MeasuredArm | None,
    control: MeasuredArm | None,
    rule: MeasureRule,
    family: FamilyDesign,
) -> Pending | None:
    if treatment is None or reference is None:
        return None
    pairs = pair(treatment.rows, reference.rows)
    if not len(pairs.treatment):
        return None
    test = stats.paired_contrast(
        pairs.treatment, pairs.control, clusters=pairs.clusters, level=family.level, n_missing=pairs.n_missing
    )
    finding = Finding(
        name=rule.name,
        estimate=test.estimate,
        unit=rule.unit,
        better=rule.better,
        contrast=contrast.name,
        judge_id=treatment.judge_id,
        sources=treatment.sources + reference.sources,
    )
    return Pending(
        finding=finding,
        test=test,
        rule=rule,
        smallest_effect=smallest_effect_in_units(rule.smallest_effect, control),
        in_family=rule.name in family.measures,
    )


def with_verdicts(
    pending: Sequence[Pending], *, family: FamilyDesign, n_declared: int, min_clusters: int
) -> tuple[Finding, ...]:
    """Adjust the declared family together, then judge each contrast.

    A declared contrast that could not be tested still counts: leaving it out would make the others easier to claim.
    """
    declared = [p for p in pending if p.in_family]
    p_values = [1.0 if p.test.p_value is None else p.test.p_value for p in declared]
    p_values += [1.0] * max(0, n_declared - len(declared))
    adjusted = stats.adjust(p_values, method=family.correction) if p_values else []
    by_place = dict(zip((id(p) for p in declared), adjusted, strict=False))
    return tuple(
        replace(p.finding, verdict=_verdict(p, by_place.get(id(p)), level=family.level, min_clusters=min_clusters))
        for p in pending
    )


def _verdict(pending: Pending, p_adjusted: float | None, *, level: float, min_clusters: int) -> Verdict:
    rule = pending.rule
    if rule.better is None or rule.exploratory_reason:
        reason = rule.exploratory_reason or "Descriptive: more is neither better nor worse."
        return Verdict(
            label="exploratory",
            reason=reason,
            p_value=pending.test.p_value,
            p_adjusted=p_adjusted,
            in_family=pending.in_family,
        )
    return stats.verdict(
        pending.test,
        better=rule.better,
        smallest_effect=pending.smallest_effect,
        p_adjusted=p_adjusted if pending.test.p_value is not None else None,
        level=level,
        min_clusters=min_clusters,
        in_family=pending.in_family,
    )


def label_films(findings: Sequence[Finding], note: str) -> tuple[Finding, ...]:
    """Add a note to every estimate, e.g. that it speaks of these films only."""

    def noted(estimate: Estimate) -> Estimate:
        return replace(estimate, notes=(*estimate.notes, note))

    return tuple(replace(f, estimate=noted(f.estimate)) for f in findings)
