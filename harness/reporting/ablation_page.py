"""Sections that an ablation adds: design, seeds, tails, trends, curves with bands, and what each arm took."""

from __future__ import annotations

import math
from dataclasses import replace

from harness.reporting.ablation_record import AblationRecord, TailRow, TrendRow
from harness.reporting.figures.curves import band_figures, quantile_figure
from harness.reporting.figures.svg import Figure
from harness.reporting.finding_index import Index
from harness.reporting.numbers import write_count, write_estimate, write_seconds
from harness.reporting.parts import Heading, Section, Settings, pictures, words
from harness.reporting.parts import rows as rows_of
from harness.reporting.tables import Cell, Group, Row, Table, estimate_cells, number, row, table
from harness.reporting.wording import tail_sentences
from harness.types import Estimate, Grain


def ablation_sections(found: Index) -> tuple[Section, ...]:
    """Design, seeds, tails and trends, and what each arm took; none of an evaluation."""
    record = found.record.ablation
    return () if record is None else (_design(record), _seeds(found, record), _shapes(found, record), _cost(record))


def training_bands(found: Index) -> tuple[Figure, ...]:
    """Training curves of the arms, each a band over its seeds."""
    return band_figures(found.record.ablation.curves) if found.record.ablation is not None else ()


def _design(record: AblationRecord) -> Section:
    return Section(
        id="design",
        title="Design",
        gist=f"{write_count(len(record.arms), 'arm')} × {write_count(len(record.seeds), 'seed')}, what is held still",
        parts=(
            *words(_lead(record)),
            *rows_of(_design_table(record)),
            Heading(text="Held still"),
            Settings(items=tuple((setting.key, setting.value) for setting in record.fixed)),
            Heading(text="Decided before the run"),
            *words(record.decision),
        ),
    )


def _seeds(found: Index, record: AblationRecord) -> Section:
    table = _seeds_table(found, record)
    parts = () if table.is_empty else (*words(_seeds_note(record), tone="quiet"), *rows_of(table))
    gist = f"each contrast in each of {len(record.seeds)} seeds"
    return Section(id="seeds", title="From seed to seed", gist=gist, parts=parts)


def _shapes(found: Index, record: AblationRecord) -> Section:
    figures = tuple(
        quantile_figure(
            of,
            label=of.label or found.label(of.measure),
            arms=found.contrasts[of.contrast].arms,
            id=f"quantiles-{place}",
            noun=found.cluster_noun,
        )
        for place, of in enumerate(record.quantiles)
    )
    return Section(
        id="shapes",
        title="Tails and trends",
        gist="what a mean does not show",
        parts=(
            *rows_of(_tail_table(found, record.tail), heading="Does the low tail fall more than the peak rises?"),
            *(part for said in tail_sentences(found) for part in words(said)),
            *rows_of(_trends_table(found, record.trends), heading="Along the declared order"),
            *pictures(figures, is_grid=True),
        ),
    )


def _cost(record: AblationRecord) -> Section:
    return Section(
        id="cost",
        title="Cost",
        gist="what each arm took",
        parts=(*words(_work_line(record)), *rows_of(_cost_table(record))),
    )


def _lead(record: AblationRecord) -> str:
    if not record.factors:
        return f"{write_count(len(record.arms), 'variant')}; control is {record.control}."
    noun = "factor" if len(record.factors) == 1 else "factors"
    seeds = ", ".join(str(seed) for seed in record.seeds)
    return (
        f"{write_count(len(record.arms), 'arm')} differ in the {noun} {', '.join(record.factors)} and in nothing else; "
        f"control is {record.control}; {write_count(len(record.seeds), 'training seed')} ({seeds})."
    )


def _design_table(record: AblationRecord) -> Table:
    rows = (
        row(
            Cell(text=arm.name, detail="control" if arm.name == record.control else ""),
            *(setting.value for setting in arm.settings),
            arm.stages,
            number(
                f"{arm.n_seeds}" if arm.n_train_tokens or arm.n_lost else "—",
                detail=f"{arm.n_lost} failed" if arm.n_lost else "",
            ),
        )
        for arm in record.arms
    )
    caption = "The arms. Everything that is not a column here is the same in all of them."
    return table(caption, ("Arm", *record.factors, "Trained by", "Seeds"), rows, is_cards=True)


def _seeds_table(found: Index, record: AblationRecord) -> Table:
    """Each seed's own contrast beside the variance between seeds."""
    groups = []
    for spread in record.spreads:
        measure = found.measures[spread.measure]
        mine = [
            s for s in record.by_seed
            if (s.measure, s.contrast, s.judge_id) == (spread.measure, spread.contrast, spread.judge_id)
        ]  # fmt: skip
        rows = tuple(
            _estimate_row(found, f"seed {s.seed}", s.estimate, unit=measure.unit, grain=measure.grain) for s in mine
        )
        deviation = write_estimate(_root(spread.variance), unit=measure.unit)
        note = (
            f"standard deviation between seeds {deviation.amount}, {deviation.level} interval {deviation.interval}; "
            f"{spread.share:.0%} of the variance of one seed's mean, which more {found.cluster_noun}s would not remove"
        )
        groups.append(Group(heading=f"{measure.label}, {spread.contrast}", note=note, rows=rows))
    return Table(
        caption=f"The contrast of each seed by itself, clustered by {found.cluster_noun}: about these two adapters. "
        f"The verdicts above take seeds and {found.cluster_noun}s as crossed levels.",
        head=("Seed", "Effect", "Interval", "Rows / clusters"),
        groups=tuple(groups),
        is_cards=True,
    )


def _seeds_note(record: AblationRecord) -> str:
    n = len(record.seeds)
    if not record.spreads:
        return ""
    return (
        f"{n} seeds leave {n - 1} {'degree' if n == 2 else 'degrees'} of freedom for a variance between seeds, and its "
        "interval is wide: that is what so few seeds can say."
    )


def _tail_table(found: Index, tails: tuple[TailRow, ...]) -> Table:
    return Table(
        caption="0 on the log-odds line is a shift of the whole distribution; above 0 the low tail falls more than the "
        "peak rises. The changes of the shares describe and claim nothing.",
        head=("Tail", "Effect", "Interval", "Rows / clusters"),
        groups=tuple(_tail_group(found, tail) for tail in tails),
        is_cards=True,
    )


def _tail_group(found: Index, tail: TailRow) -> Group:
    unit, grain = found.measures[tail.measure].unit, found.measures[tail.measure].grain
    low, high = (f"{cut * 100:.3g} %" if unit == "share" else f"{cut:.3g} {unit}" for cut in (tail.low, tail.high))
    rows = (
        _estimate_row(
            found,
            "fall of the tail − rise of the peak, log-odds",
            tail.asymmetry,
            detail=_p(tail.p_value),
            grain=grain,
        ),
        _estimate_row(found, "the same with probits", tail.sensitivity, grain=grain),
        _estimate_row(found, f"share at or below {low}", tail.low_change, unit="share", grain=grain),
        _estimate_row(found, f"share at or above {high}", tail.high_change, unit="share", grain=grain),
    )
    return Group(rows=rows, heading=f"{tail.label or found.label(tail.measure)}, {tail.contrast}", note=tail.note)


def _trends_table(found: Index, trends: tuple[TrendRow, ...]) -> Table:
    rows = (
        _estimate_row(
            found,
            f"{found.label(t.measure)}: {' → '.join(t.order)}",
            t.estimate,
            detail="; ".join(part for part in (t.basis, _p(t.p_value), t.note) if part),
        )
        for t in trends
    )
    caption = (
        "Rank correlation with the declared order: 1 rises with every step, −1 falls. Permutation p values, not in "
        "the family."
    )
    return table(caption, ("Trend", "Correlation", "Interval", "Rows / clusters"), rows, is_cards=True)


def _cost_table(record: AblationRecord) -> Table:
    rows = (
        row(
            arm.name,
            number(write_seconds(arm.own_seconds)),
            number(write_seconds(arm.seconds)),
            number("none" if arm.n_train_tokens is None else f"{arm.n_train_tokens:,}"),
            ", ".join(arm.adapters) or "the base as it is",
        )
        for arm in record.arms
    )
    caption = "What each arm took, over all its seeds. Shared stages are counted in every arm that needs them."
    head = ("Arm", "Own stages", "With shared stages", "Training tokens", "Adapters")
    return table(caption, head, rows, is_cards=True)


def _work_line(record: AblationRecord) -> str:
    work = record.work
    if work is None:
        return ""
    reused = f", {work.n_reused} of them done before" if work.n_reused else ""
    retried = f", {write_count(work.n_retries, 'retry')}" if work.n_retries else ""
    return (
        f"{write_count(work.n_stages, 'distinct stage')}{reused}{retried}: {write_seconds(work.stage_seconds)} of "
        f"work, {write_seconds(work.wall_seconds)} on the clock with {write_count(work.n_workers, 'worker')} "
        f"({work.executor})."
    )


def _estimate_row(
    found: Index, name: str, estimate: Estimate, *, unit: str = "", detail: str = "", grain: Grain = Grain.PROMPT
) -> Row:
    written = write_estimate(estimate, unit=unit, is_difference=True, grain=grain, cluster_noun=found.cluster_noun)
    return row(Cell(text=name, detail=detail), *estimate_cells(written, estimate))


def _root(variance: Estimate) -> Estimate:
    """A variance as a standard deviation; the root keeps the order, so the ends stay the ends."""
    return replace(
        variance,
        value=math.sqrt(variance.value),
        low=None if variance.low is None else math.sqrt(variance.low),
        high=None if variance.high is None else math.sqrt(variance.high),
    )


def _p(p_value: float | None) -> str:
    return "" if p_value is None else f"p = {p_value:.2g}"
