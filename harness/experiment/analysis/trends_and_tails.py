"""What a mean does not show: quantiles between arms, the tail test that a design declares, and trends over arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.composing import compose
from harness.experiment.analysis.absence import not_measured
from harness.experiment.analysis.contrasts import MeasureRule
from harness.experiment.analysis.seeded import SeededArm, paired_sides
from harness.experiment.analysis.values import Differences, per_prompt
from harness.experiment.design import ExperimentDesign, TailDesign
from harness.measures.catalogue import find_measure
from harness.measures.heldout import TOTAL
from harness.reporting.ablation_record import QuantileRow, TailRow, TrendRow
from harness.seeding import stream
from harness.stats import jonckheere, page_trend, quantile_contrasts, quantile_estimate, tail_asymmetry

PROBABILITIES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MIN_DISTINCT = 20  # as `harness.stats.quantiles` asks
MIN_ROWS = 40
_THESE_ADAPTERS = "films resampled, seeds taken as they are: it speaks of these adapters"


def quantile_rows(
    design: ExperimentDesign,
    arms: Sequence[SeededArm],
    *,
    margins: Sequence[SeededArm],
    rules: Mapping[str, MeasureRule],
) -> tuple[QuantileRow, ...]:
    """Quantile contrasts of every measure with a continuous value per prompt, or with a margin beside its value."""
    found = []
    for measure, judge_id in dict.fromkeys((arm.measure, arm.judge_id) for arm in arms):
        if measure == TOTAL:
            continue  # a ratio has no quantiles
        known, label = find_measure(measure, design.measures[measure].measure), design.margin_of(measure)
        if known is not None and known.origin != "heldout" and not label:
            continue  # shares and counts jump, and their quantile bands mean nothing
        for contrast in design.contrasts:
            rows = _rows(margins if label else arms, measure, judge_id, contrast.sides)
            if rows is None or not _is_continuous(rows):
                continue
            result = quantile_contrasts(
                rows.treatment,
                rows.reference,
                clusters=rows.clusters.codes,
                rng=stream(design.seed, "quantiles", measure, contrast.name),
                probabilities=PROBABILITIES,
                level=design.family.level,
                n_missing=rows.n_missing,
            )
            found.append(
                QuantileRow(
                    measure=measure,
                    contrast=contrast.name,
                    unit=rules[measure].unit,
                    probabilities=result.probabilities,
                    simultaneous=tuple(map(rows.counted, result.simultaneous)),
                    judge_id=judge_id,
                    label=label,
                )
            )
    return tuple(found)


def tail_rows(
    design: ExperimentDesign,
    arms: Sequence[SeededArm],
    *,
    margins: Sequence[SeededArm],
    rules: Mapping[str, MeasureRule],
) -> tuple[TailRow, ...]:
    """The declared tail tests, without those whose arms did not come through."""
    found = []
    for asked in design.tail:
        sides = next(c for c in design.contrasts if c.name == asked.contrast).sides
        judge_id = next((arm.judge_id for arm in arms if arm.measure == asked.measure), None)
        label = design.margin_of(asked.measure)
        rows = _rows(margins if label else arms, asked.measure, judge_id, sides)
        if rows is not None and len(rows):
            row = _tail_row(asked, rows, level=design.family.level, reason=rules[asked.measure].exploratory_reason)
            found.append(replace(row, label=label))
    return tuple(found)


def _tail_row(asked: TailDesign, rows: Differences, *, level: float, reason: str) -> TailRow:
    low, high = (
        quantile_estimate(rows.reference, q, clusters=rows.clusters.codes).value for q in (asked.low, asked.high)
    )
    notes = [_THESE_ADAPTERS, reason]
    none, result = not_measured(n_missing=rows.n_missing, level=level), None
    cuts = [hits.mean() for arm in (rows.treatment, rows.reference) for hits in (arm <= low, arm >= high)]
    if low < high and all(0 < share < 1 for share in cuts):
        result = tail_asymmetry(
            rows.treatment,
            rows.reference,
            clusters=rows.clusters.codes,
            low=low,
            high=high,
            level=level,
            n_missing=rows.n_missing,
        )
    else:
        notes.append("not tested: the cuts do not leave replies of both arms on both sides")
    return TailRow(
        measure=asked.measure,
        contrast=asked.contrast,
        low=low,
        high=high,
        asymmetry=rows.counted(result.test.estimate) if result else none,
        p_value=result.test.p_value if result else None,
        sensitivity=rows.counted(result.sensitivity.estimate) if result else none,
        low_change=rows.counted(result.low_change) if result else none,
        high_change=rows.counted(result.high_change) if result else none,
        note="; ".join(part for part in notes if part),
    )


def trend_rows(design: ExperimentDesign, arms: Sequence[SeededArm]) -> tuple[TrendRow, ...]:
    """Trends over the declared order: over films (these adapters), and over training runs (the recipe)."""
    if not design.trend:
        return ()
    found = []
    for measure in design.family.measures:
        ordered = [arm for name in design.trend for arm in arms if arm.measure == measure and arm.arm == name]
        if len(ordered) < len(design.trend):
            continue  # an arm is lost: the order has a gap
        rows = [(arm.arm, row) for arm in ordered for of in arm.by_seed.values() for row in per_prompt(of.rows).there()]
        page = page_trend(
            [row.value for _, row in rows if row.value is not None], [name for name, _ in rows], design.trend,
            clusters=[row.cluster for _, row in rows], rng=stream(design.seed, "trend", measure),
            level=design.family.level,
        )  # fmt: skip
        found.append(
            compose(TrendRow, page, measure=measure, order=design.trend, basis="films, over the mean of the seeds")
        )
        if any(arm.is_trained for arm in ordered):
            found.append(_over_runs(design, measure, ordered))
    return tuple(found)


def _over_runs(design: ExperimentDesign, measure: str, ordered: Sequence[SeededArm]) -> TrendRow:
    values, names, runs = [], [], []
    for arm in ordered:
        for seed, measured in zip(arm.by_seed, arm.speaking, strict=False):
            there = per_prompt(measured.rows).there()
            values.append(float(there.values.mean()))
            names.append(arm.arm)
            runs.append(f"{arm.arm} {seed}")
    test = jonckheere(
        values, names, design.trend, runs=runs, rng=stream(design.seed, "runs", measure), level=design.family.level
    )
    return compose(TrendRow, test, measure=measure, order=design.trend, basis="training runs, one value a run")


def _rows(
    arms: Sequence[SeededArm], measure: str, judge_id: str | None, sides: Sequence[Sequence[str]]
) -> Differences | None:
    by_arm = {arm.arm: arm for arm in arms if arm.measure == measure and arm.judge_id == judge_id}
    return paired_sides(by_arm, sides)


def _is_continuous(rows: Differences) -> bool:
    n_distinct = len(np.union1d(rows.treatment, rows.reference))
    return len(rows) >= MIN_ROWS and n_distinct >= MIN_DISTINCT and rows.n_clusters > 1
