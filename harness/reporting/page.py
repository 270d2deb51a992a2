"""What stands on the page, in order: the answer, a picture and a table of it, examples; then everything, folded."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import groupby

from harness.reporting import lineage_tables as origins
from harness.reporting.ablation_page import ablation_sections, training_bands
from harness.reporting.answer import answer, claims_line, overview_table
from harness.reporting.figures.controls import controls_plot
from harness.reporting.figures.curves import loss_curve
from harness.reporting.figures.forest import forest_plot
from harness.reporting.figures.overview import overview
from harness.reporting.figures.strips import strip_plot
from harness.reporting.figures.svg import Figure
from harness.reporting.finding_index import Index, index
from harness.reporting.numbers import write_count, write_date, write_observation
from harness.reporting.parts import (
    Claims,
    Code,
    Exhibits,
    Heading,
    Part,
    Points,
    Section,
    Settings,
    pictures,
    rows,
    words,
)
from harness.reporting.record import Distribution, JudgeRow, ReportRecord, Sample, SampleReply
from harness.reporting.tables import (
    Table,
    contrasts_table,
    controls_table,
    judge_standing,
    variant_numbers_table,
    variants_table,
)
from harness.reporting.wording import (
    Statement,
    absent,
    declaration_note,
    seeds_note,
    statement,
    summary,
    tail_sentences,
)
from harness.store.artifacts import to_json
from harness.types import Qualification

N_OPEN_SAMPLES = 2  # the rest are folded
_MOST_TAKES, _LEADING_TAKES = 3, 2  # replies side by side; of more, those of the contrast that chose the prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report ready to be drawn."""

    record: ReportRecord
    index: Index
    absent: str  # what the absences mean; empty without any
    answer: tuple[str, ...]
    overview: Figure | None
    table: Table  # variants × declared measures
    limit: str  # one line of what this cannot show
    sections: tuple[Section, ...]


def page(record: ReportRecord) -> Page:
    """Lay out a record. Refuses claims that their judge cannot support (see `findings.index`)."""
    found = index(record)
    statements = tuple(statement(found, named) for named in found.of_contrasts())
    of_ablation = ablation_sections(found)
    sections = (
        _examples(found),
        _verdicts(found, statements),
        *of_ablation[:1],  # its design
        _contrasts(found, statements),
        *of_ablation[1:3],
        _variants(found),
        _distributions(found),
        _judges(found),
        _training(found),
        *of_ablation[3:],
        _missing(found),
        _reach(found),
        _lineage(found),
        _config(found),
    )
    return Page(
        record=record,
        index=found,
        absent=absent(record.absences),
        answer=(*answer(found, statements), *tail_sentences(found)[:1]),
        overview=overview(found, statements),
        table=overview_table(found, statements),
        limit=record.caveat or next(iter(record.limitations), ""),
        sections=tuple(section for section in sections if section.parts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """A reply, and every variant that gave it with the same scores."""

    variants: str
    reply: SampleReply


def takes(sample: Sample) -> tuple[tuple[Take, ...], tuple[Take, ...]]:
    """The different replies to a prompt, in the order of their first variants: those in the open, and the others."""
    alike: dict[SampleReply, list[str]] = {}
    for reply in sample.replies:
        alike.setdefault(replace(reply, variant=""), []).append(reply.variant)
    told = tuple(Take(variants=", ".join(names), reply=reply) for reply, names in alike.items())
    n_open = len(told) if len(told) <= _MOST_TAKES else _LEADING_TAKES
    return told[:n_open], told[n_open:]


def observations(reply: SampleReply, found: Index) -> tuple[tuple[str, str], ...]:
    """Label and value of each of one reply's own scores."""
    shown = []
    for score in reply.scores:
        measure = found.measures.get(score.measure)
        label, unit = (measure.label, measure.unit) if measure else (score.measure, "")
        shown.append((label[:1].upper() + label[1:], write_observation(score, unit=unit)))
    return tuple(shown)


def _examples(found: Index) -> Section:
    samples = found.record.samples
    parts: tuple[Part, ...] = (*words(found.record.sampling, tone="quiet"), Exhibits(samples=samples))
    gist = f"{write_count(len(samples), 'prompt')} with every variant's reply"
    return Section(id="examples", title="Examples", gist=gist, parts=parts if samples else (), is_open=True)


def _verdicts(found: Index, statements: tuple[Statement, ...]) -> Section:
    declared = tuple(s for s in statements if s.is_declared)
    told = declared or statements[:1]
    parts: tuple[Part, ...] = (Claims(statements=told),) if told else ()
    notes = [*words(declaration_note(found), tone="quiet"), *words(seeds_note(found), tone="quiet")]
    return Section(
        id="verdict",
        title="Verdicts",
        gist=claims_line(statements),
        parts=(*words(summary(statements)), *parts, *notes),
    )


def _contrasts(found: Index, statements: tuple[Statement, ...]) -> Section:
    table = contrasts_table(found)
    n_measures = len({n.finding.name for n in found.of_contrasts()})
    described = tuple(
        f"{m.label}{said}"
        for m in found.measures.values()
        for said in (*([f": {m.description}"] if m.description else []), *(f", {remark}" for remark in m.remarks))
    )
    return Section(
        id="contrasts",
        title="Contrasts",
        gist=f"{write_count(len(statements), 'contrast')} on {write_count(n_measures, 'measure')}, exploratory too",
        parts=(*rows(table), *pictures(_forests(found, statements)), Points(items=described)) if statements else (),
    )


def _variants(found: Index) -> Section:
    compared, numbers = variants_table(found), variant_numbers_table(found)
    is_empty = compared.is_empty and numbers.is_empty
    return Section(
        id="variants",
        title="Variants",
        gist=", ".join(variant.name for variant in found.record.variants) or "numbers alone",
        parts=()
        if is_empty
        else (
            *words(_decoding(found.record), tone="quiet"),
            *rows(compared),
            *rows(numbers, heading="Each variant by itself"),
        ),
    )


def _distributions(found: Index) -> Section:
    strips = _strips(found)
    gist = f"every reply as a dot, on {write_count(len(strips), 'measure')}"
    return Section(id="distributions", title="Distributions", gist=gist, parts=pictures(strips))


def _judges(found: Index) -> Section:
    by_judge: dict[str, list[Qualification]] = defaultdict(list)
    for qualification in found.record.qualifications:
        by_judge[qualification.judge_id].append(qualification)
    judges = {judge.judge_id: judge for judge in found.record.judges}
    for judge_id in by_judge:
        judges.setdefault(judge_id, JudgeRow(judge_id=judge_id, name=judge_id))
    parts: list[Part] = []
    for place, row in enumerate(judges.values()):
        of_judge = by_judge[row.judge_id]
        drawn = tuple(q for q in of_judge if q.families)
        plot = controls_plot(drawn, id=f"controls-{place}", cluster_noun=found.cluster_noun) if drawn else None
        parts += [
            Heading(text=row.name, code=row.judge_id[:12]),
            *words(row.description, tone="quiet"),
            *words(judge_standing(row, of_judge)),
            *pictures((plot,) if plot else ()),
            *rows(controls_table(found, of_judge)),
        ]
    counts = Counter(q.status.replace("_", " ") for q in found.record.qualifications)
    told = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no controls were run"
    return Section(
        id="judges",
        title="Judges",
        gist=f"{write_count(len(judges), 'judge')}; criteria on planted faults: {told}",
        parts=tuple(parts),
    )


def _training(found: Index) -> Section:
    record = found.record
    curves = tuple(loss_curve(curve, id=f"curve-{i}") for i, curve in enumerate(record.curves))
    failed = sum(row.is_passed is False for row in record.audit)
    checks = f"{write_count(len(record.audit), 'check')}, {failed} failed" if record.audit else "no checks"
    data = record.data
    return Section(
        id="training",
        title="Training and data",
        gist=f"{checks}; {data.corpus}" if data else checks,
        parts=(
            *pictures(training_bands(found), is_grid=True),
            *pictures(curves, is_grid=True),
            *words(f"{origins.data_line(data)}." if data else ""),
            *((Points(items=data.warnings),) if data and data.warnings else ()),
            *rows(origins.splits_table(data) if data else None),
            *rows(origins.audit_table(record)),
        ),
    )


def _missing(found: Index) -> Section:
    table = origins.missing_table(found.record)
    n = sum(row.n for row in found.record.missing)
    gist = "Nothing was missing." if table.is_empty else f"{n:,} values, by reason"
    return Section(id="missing", title="Missing", gist=gist, parts=rows(table) or words("Nothing was missing."))


def _reach(found: Index) -> Section:
    limits = found.record.limitations
    gist = write_count(len(limits), "limitation")
    return Section(id="limitations", title="Limits", gist=gist, parts=(Points(items=limits),) if limits else ())


def _lineage(found: Index) -> Section:
    record = found.record
    made = [("made", write_date(record.created)), ("profile", record.profile), ("run", record.run_id)]
    if record.cost:
        made.append(("took", origins.cost_line(record.cost)))
    return Section(
        id="lineage",
        title="Lineage",
        gist=f"{write_count(len(record.stages), 'stage')} and where each of {len(found.named)} numbers comes from",
        parts=(
            Settings(items=tuple((key, value) for key, value in made if value)),
            *rows(origins.sources_table(found)),
            *rows(origins.stages_table(record), heading="Stages"),
        ),
    )


def _config(found: Index) -> Section:
    config = (Code(text=_yaml(found.record.config)),) if found.record.config else ()
    versions = rows(origins.versions_table(found.record))
    return Section(id="config", title="Config", gist="as resolved, with versions", parts=(*config, *versions))


def _forests(found: Index, statements: tuple[Statement, ...]) -> tuple[Figure, ...]:
    tested = [s for s in statements if s.finding.estimate.n]
    return tuple(
        forest_plot(found, found.measures[name], tuple(members), id=f"forest-{place}")
        for place, (name, members) in enumerate(groupby(tested, key=lambda s: s.finding.name))
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
