"""Contrasts and what may be claimed of them: the declared family, smallest effects, verdicts, and what forbids one.

No arithmetic lives here: means, contrasts, adjustments and verdicts come from `harness.stats`. What lives here is which
rows belong together (the same prompt), which contrasts form the family, and which judges may claim; what is missing and
what that forbids is `harness.experiment.analysis.absence`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from harness import stats
from harness.experiment.analysis.absence import (
    arms_of,
    not_measured,
    touching,
    why_missing_pairs_forbid,
    withheld,
)
from harness.experiment.analysis.values import Differences, Rows, per_prompt
from harness.experiment.design import ContrastDesign, EffectDesign, FamilyDesign
from harness.types import Absence, Direction, Estimate, Finding, Source, Verdict

if TYPE_CHECKING:
    from harness.experiment.analysis.seeded import SeededArm
    from harness.stats.outcomes import TestResult
    from harness.stats.rows import Floats


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
    is_rate: bool = False  # every row is a share in [0, 1], and its mean a rate
    is_share: bool = False  # every row lies in [0, 1], though it is no rate: so does its mean
    needs_reference: bool = False  # of human replies: a prompt without one is missing for all alike
    exploratory_reason: str = ""  # why it may claim nothing; empty: it may


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A contrast before the family's adjustment."""

    finding: Finding
    test: TestResult
    rule: MeasureRule
    smallest_effect: float | None  # in the measure's own unit
    in_family: bool
    contrast: ContrastDesign
    rows: Differences


def measures_of(
    arms: Sequence[MeasuredArm] | Sequence[SeededArm], rules: Mapping[str, MeasureRule]
) -> list[tuple[str, str | None]]:
    """Every measure with its judge, as measured; then those that were declared and have no rows."""
    found = list(dict.fromkeys((arm.measure, arm.judge_id) for arm in arms))
    return found + [(name, None) for name in rules if name not in {measure for measure, _ in found}]


def finding_of(rule: MeasureRule, estimate: Estimate, **of: Any) -> Finding:
    """A number of a measure, whose unit and direction its rule knows."""
    return Finding(name=rule.name, estimate=estimate, unit=rule.unit, better=rule.better, **of)


def unmeasured_findings(
    counts: Mapping[str, Mapping[str, int]], rules: Mapping[str, MeasureRule], variants: Sequence[str], *, level: float
) -> list[Finding]:
    """A number without value for every variant that a declared measure has no row of."""
    return [
        finding_of(rules[name], not_measured(n_missing=0, level=level), variant=variant)
        for name, measured in counts.items()
        for variant in variants
        if variant not in measured
    ]


def untested_finding(
    rule: MeasureRule,
    contrast: ContrastDesign,
    judge_id: str | None,
    *,
    family: FamilyDesign,
    absences: Sequence[Absence],
    n_missing: int,
) -> Finding:
    """A declared contrast of which no prompt has a value on both sides."""
    absence = touching(absences, measure=rule.name, variants=arms_of(contrast))
    said = absence.said if absence else "no prompt has a value on both sides."
    in_family = rule.name in family.measures and not rule.exploratory_reason
    label: Literal["inconclusive", "exploratory"] = "inconclusive" if in_family else "exploratory"
    return finding_of(
        rule,
        not_measured(n_missing=n_missing, level=family.level),
        contrast=contrast.name,
        judge_id=judge_id,
        verdict=Verdict(label=label, reason=f"Not tested: {said}", in_family=in_family),
    )


def without_pairs(
    untested: Sequence[Finding], contrasts: Sequence[ContrastDesign], *, known: Sequence[Absence]
) -> tuple[Absence, ...]:
    """Contrasts that were not tested though nothing known to be absent touches them: their sides never meet."""
    arms = {contrast.name: arms_of(contrast) for contrast in contrasts}
    return tuple(
        Absence(
            kind="missing",
            said=f"{f.contrast} on `{f.name}` was not tested: no prompt has a value on both sides.",
            variants=arms[f.contrast or ""],
            measures=(f.name,),
        )
        for f in untested
        if touching(known, measure=f.name, variants=arms[f.contrast or ""]) is None
    )


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
    return stats.smallest_effect_in_units(effect.as_effect(), values)


def within_share(estimate: Estimate, rule: MeasureRule, *, low: float = 0.0) -> Estimate:
    """An interval inside what a share can be; a difference of shares has `low` −1."""
    return stats.within_range(estimate, low=low, high=1) if rule.is_rate or rule.is_share else estimate


def is_sampled_rate(values: Floats, rule: MeasureRule) -> bool:
    """Whether rows are events; one half on every row is the control against itself, known and not sampled."""
    return rule.is_rate and not bool((values == 0.5).all())


def with_verdicts(
    pending: Sequence[Pending], *, family: FamilyDesign, n_declared: int, min_clusters: int, absences: Sequence[Absence]
) -> tuple[list[Finding], tuple[Absence, ...]]:
    """Adjust the declared family together, then judge each contrast, then withhold what absences forbid.

    A declared contrast that could not be tested still counts: leaving it out would make the others easier to claim.
    """
    p_values = [1.0 if p.test.p_value is None else p.test.p_value for p in pending if p.in_family]
    p_values += [1.0] * max(0, n_declared - len(p_values))
    adjusted = iter(stats.adjust(p_values, method=family.correction) if p_values else ())
    findings, found = [], list(absences)
    for p in pending:
        verdict = _verdict(p, next(adjusted) if p.in_family else None, level=family.level, min_clusters=min_clusters)
        if verdict.label in ("better", "worse", "equivalent"):
            sides = p.contrast.sides if verdict.label != "worse" else p.contrast.sides[1:]
            known = touching(absences, measure=p.rule.name, variants=[name for side in sides for name in side])
            doubt = known.said if known else _doubt(p, verdict)
            if doubt and not known:
                said = f"{p.contrast.name} on `{p.rule.name}` is not called {verdict.label}: {doubt}"
                found.append(Absence(kind="missing", said=said, variants=arms_of(p.contrast), measures=(p.rule.name,)))
            verdict = withheld(verdict, doubt) if doubt else verdict
        findings.append(replace(p.finding, verdict=verdict))
    return findings, tuple(found)


def _doubt(pending: Pending, verdict: Verdict) -> str:
    rule, lacking = pending.rule, pending.rows.lacking
    if rule.needs_reference:
        lacking = lacking.only(lacking.is_asked)  # pairs that could have had values
    value = pending.finding.estimate.value
    return why_missing_pairs_forbid(verdict, value, lacking, is_rate=rule.is_rate, margin=pending.smallest_effect)


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


_TWICE = re.compile(r"(more (\w+)) \([\d,]+ more \2\)")  # a prompt may be its own cluster


def label_clusters(findings: Sequence[Finding], notes: tuple[str, ...], *, noun: str) -> tuple[Finding, ...]:
    """Add notes to every estimate, e.g. that it speaks of these films only, and call clusters what they are."""

    def noted(estimate: Estimate) -> Estimate:
        known = replace(estimate, method=called(estimate.method, noun))
        return replace(known, notes=(*estimate.notes, *notes)) if estimate.n else known

    def told(verdict: Verdict | None) -> Verdict | None:
        if verdict is None:
            return None
        reason, settle = (called(text, noun, words="film|cluster") for text in (verdict.reason, verdict.settle))
        return replace(verdict, reason=reason, settle=_TWICE.sub(r"\1", settle))

    return tuple(replace(f, estimate=noted(f.estimate), verdict=told(f.verdict)) for f in findings)


def called(text: str, noun: str, *, words: str = "film") -> str:
    """A sentence of ours about films, for data whose clusters are called otherwise; `words` mean them."""
    return re.sub(rf"\b(?:{words})(s?)\b", rf"{noun}\1", text)
