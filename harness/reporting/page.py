"""What stands on the page, in order: statements, tables and pictures made from one record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from harness.controls import Qualification
from harness.reporting.ablation_page import AblationView, ablation_view
from harness.reporting.figures.controls import controls_plot
from harness.reporting.figures.curves import loss_curve
from harness.reporting.figures.forest import forest_plot
from harness.reporting.figures.strips import strip_plot
from harness.reporting.figures.svg import Figure
from harness.reporting.findings import Index, index
from harness.reporting.numbers import write_date, write_observation
from harness.reporting.provenance import (
    audit_table,
    cost_line,
    data_line,
    missing_table,
    sources_table,
    splits_table,
    stages_table,
    versions_table,
)
from harness.reporting.record import Distribution, JudgeRow, ReportRecord, SampleReply
from harness.reporting.tables import (
    Table,
    contrasts_table,
    controls_table,
    judge_standing,
    variant_numbers_table,
    variants_table,
)
from harness.reporting.wording import Statement, absent, declaration_note, seeds_note, statement, summary
from harness.store.artifacts import to_json

N_OPEN_SAMPLES = 3  # the rest are folded


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeView:
    """One judge with its standing and its controls."""

    row: JudgeRow
    standing: str
    figure: Figure | None
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One entry of the navigation."""

    id: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report ready to be drawn."""

    record: ReportRecord
    index: Index
    sections: tuple[Section, ...]
    lead: tuple[Statement, ...]  # contrasts of the primary measure
    others: tuple[Statement, ...]  # declared contrasts of the other measures; the table below has the exploratory ones
    absent: str  # what the absences mean; empty without any
    summary: str
    notes: tuple[str, ...]
    contrasts: Table
    forests: tuple[Figure, ...]
    variants: Table
    numbers: Table
    strips: tuple[Figure, ...]
    judges: tuple[JudgeView, ...]
    curves: tuple[Figure, ...]
    audit: Table
    data: str
    splits: Table | None
    missing: Table
    sources: Table
    stages: Table
    config: str  # YAML
    versions: Table
    decoding: str
    cost: str
    created: str
    ablation: AblationView | None


def page(record: ReportRecord) -> Page:
    """Lay out a record. Refuses claims that their judge cannot support (see `findings.index`)."""
    found = index(record)
    statements = tuple(statement(found, named) for named in found.of_contrasts())
    first = statements[0].named.finding.name if statements else None
    notes = (declaration_note(found), seeds_note(found))
    laid = Page(
        record=record,
        index=found,
        sections=(),
        lead=tuple(s for s in statements if s.named.finding.name == first),
        others=tuple(s for s in statements if s.named.finding.name != first and _is_declared(s)),
        absent=absent(record.absences),
        summary=summary(statements),
        notes=tuple(note for note in notes if note),
        contrasts=contrasts_table(found),
        forests=_forests(found, statements),
        variants=variants_table(found),
        numbers=variant_numbers_table(found),
        strips=_strips(found),
        judges=_judges(found),
        curves=tuple(loss_curve(curve, id=f"curve-{i}") for i, curve in enumerate(record.curves)),
        audit=audit_table(record),
        data=data_line(record.data) if record.data else "",
        splits=splits_table(record.data) if record.data else None,
        missing=missing_table(record),
        sources=sources_table(found),
        stages=stages_table(record),
        config=_yaml(record.config) if record.config else "",
        versions=versions_table(record),
        decoding=_decoding(record),
        cost=cost_line(record.cost) if record.cost else "",
        created=write_date(record.created),
        ablation=ablation_view(found),
    )
    return _with_sections(laid)


def observations(reply: SampleReply, found: Index) -> tuple[tuple[str, str], ...]:
    """Label and value of each of one reply's own scores."""
    rows = []
    for score in reply.scores:
        measure = found.measures.get(score.measure)
        label, unit = (measure.label, measure.unit) if measure else (score.measure, "")
        rows.append((label, write_observation(score, unit=unit)))
    return tuple(rows)


def _forests(found: Index, statements: tuple[Statement, ...]) -> tuple[Figure, ...]:
    tested = [s for s in statements if s.named.finding.estimate.n]
    return tuple(
        forest_plot(found, found.measures[name], tuple(members), id=f"forest-{place}")
        for place, (name, members) in enumerate(groupby(tested, key=lambda s: s.named.finding.name))
    )


def _strips(found: Index) -> tuple[Figure, ...]:
    by_measure: dict[str, list[Distribution]] = defaultdict(list)
    for distribution in found.record.distributions:
        if distribution.measure in found.measures and distribution.n:
            by_measure[distribution.measure].append(distribution)
    return tuple(
        strip_plot(found, measure, tuple(by_measure[name]), id=f"strip-{place}")
        for place, (name, measure) in enumerate(found.measures.items())
        if name in by_measure
    )


def _judges(found: Index) -> tuple[JudgeView, ...]:
    by_judge: dict[str, list[Qualification]] = defaultdict(list)
    for qualification in found.record.qualifications:
        by_judge[qualification.judge_id].append(qualification)
    rows = {judge.judge_id: judge for judge in found.record.judges}
    for judge_id in by_judge:
        rows.setdefault(judge_id, JudgeRow(judge_id=judge_id, name=judge_id))
    return tuple(
        JudgeView(
            row=row,
            standing=judge_standing(row, by_judge[row.judge_id]),
            figure=_controls(found, by_judge[row.judge_id], id=f"controls-{place}"),
            table=controls_table(found, by_judge[row.judge_id]),
        )
        for place, row in enumerate(rows.values())
    )


def _controls(found: Index, qualifications: Iterable[Qualification], *, id: str) -> Figure | None:
    drawn = tuple(q for q in qualifications if q.families)
    return controls_plot(drawn, id=id, cluster_noun=found.cluster_noun) if drawn else None


def _yaml(config: object) -> str:
    import yaml

    return str(yaml.safe_dump(to_json(config), sort_keys=False, allow_unicode=True, width=100)).rstrip()


def _decoding(record: ReportRecord) -> str:
    if record.decoding is None:
        return ""
    d = record.decoding
    how = "greedy" if d.temperature == 0 else f"temperature {d.temperature:g}, top-p {d.top_p:g}"
    draws = "one draw a prompt" if d.n_draws == 1 else f"{d.n_draws} draws a prompt"
    return f"At most {d.max_new_tokens} new tokens, {how}, seed {d.seed}, {draws}."


def _is_declared(said: Statement) -> bool:
    verdict = said.named.finding.verdict
    return verdict is not None and verdict.in_family


def _with_sections(laid: Page) -> Page:
    """Name the sections that have something to show, in the order of the page."""
    record = laid.record
    shown = (
        ("verdict", "Verdict", True),
        ("design", "Design", laid.ablation is not None),
        ("contrasts", "Contrasts", not laid.contrasts.is_empty),
        ("seeds", "Seeds", laid.ablation is not None and not laid.ablation.seeds.is_empty),
        ("shapes", "Tails", laid.ablation is not None and laid.ablation.has_shapes),
        ("variants", "Variants", not laid.variants.is_empty or not laid.numbers.is_empty),
        ("distributions", "Distributions", bool(laid.strips)),
        ("samples", "Samples", bool(record.samples)),
        ("judges", "Judges", bool(laid.judges)),
        ("training", "Training", bool(laid.curves) or not laid.audit.is_empty or bool(laid.data)),
        ("cost", "Cost", laid.ablation is not None),
        ("missing", "Missing", True),
        ("limitations", "Limitations", bool(record.limitations)),
        ("lineage", "Lineage", True),
        ("config", "Config", bool(laid.config) or not laid.versions.is_empty),
    )
    return replace(laid, sections=tuple(Section(id=id, title=title) for id, title, is_shown in shown if is_shown))
