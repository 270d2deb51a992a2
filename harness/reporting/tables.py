"""The tables of a report as plain nouns, drawn alike in HTML and Markdown: contrasts, variants, judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.reporting.finding_index import Index, Named
from harness.reporting.numbers import Written, write_estimate, write_level, write_smallest_effect, write_status
from harness.reporting.record import JudgeRow, Measure
from harness.reporting.safe_text import slug
from harness.reporting.wording import statement
from harness.types import Estimate, Grain, Qualification, QualificationStatus, VerdictLabel

MIXED_LEVELS = "Interval"  # column head where levels differ: each cell then names its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell. Text is escaped where it is drawn."""

    text: str
    detail: str = ""  # second, quieter line
    href: str = ""  # anchor in the page, without "#"
    title: str = ""  # shown on hover: the full digest behind a short one
    is_number: bool = False
    is_code: bool = False
    badge: VerdictLabel | QualificationStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row, with an id where something links to it."""

    cells: tuple[Cell, ...]
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows under one heading; an empty heading is not drawn."""

    rows: tuple[Row, ...]
    heading: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a caption; `is_cards` turns its rows into cards on a phone."""

    caption: str
    head: tuple[str, ...]
    groups: tuple[Group, ...]
    is_cards: bool = False
    is_dense: bool = False  # small print

    @property
    def is_empty(self) -> bool:
        """Whether there is no row to draw."""
        return not any(group.rows for group in self.groups)


def row(*cells: Cell | str | int, id: str = "") -> Row:
    """A row; text stands for a cell of text, and a count for one of a number."""
    told = (Cell(text=f"{cell:,}", is_number=True) if isinstance(cell, int) else cell for cell in cells)
    return Row(cells=tuple(Cell(text=cell) if isinstance(cell, str) else cell for cell in told), id=id)


def code(text: str, *, title: str = "") -> Cell:
    """A cell of an id, a digest or a command."""
    return Cell(text=text, title=title, is_code=True)


def number(text: str, *, detail: str = "", href: str = "") -> Cell:
    """A cell of a number as it is written."""
    return Cell(text=text, detail=detail, href=href, is_number=True)


def table(caption: str, head: tuple[str, ...], rows: Iterable[Row], **how: bool) -> Table:
    """A table of one group without a heading."""
    return Table(caption=caption, head=head, groups=(Group(rows=tuple(rows)),), **how)


def contrasts_table(index: Index) -> Table:
    """Contrast, effect, interval, rows and clusters, verdict: what a hurried reader reads."""
    named = index.of_contrasts()
    interval = interval_head(n.finding.estimate for n in named)
    return Table(
        caption="Every contrast, by measure. An effect is the first arm minus the second; its link leads to its rows.",
        head=("Contrast", "Effect", interval, "Rows / clusters", "Verdict"),
        groups=_by_measure(index, named, lambda n: _contrast_row(index, n, interval), is_difference=True),
        is_cards=True,
    )


def variant_numbers_table(index: Index) -> Table:
    """Every number of a single variant, by measure."""
    named = index.of_variants()
    interval = interval_head(n.finding.estimate for n in named)
    return Table(
        caption="Overlapping intervals here decide nothing: a contrast compares the same prompts, pair by pair.",
        head=("Variant", "Value", interval, "Rows / clusters", "How"),
        groups=_by_measure(index, named, lambda n: _variant_number_row(index, n, interval)),
        is_cards=True,
    )


def variants_table(index: Index) -> Table:
    """What was compared, and how often replies ran into the length cap."""
    rows = (
        row(
            Cell(text=variant.name, detail=variant.description),
            Cell(text=variant.base, detail=variant.adapter or "no adapter", title=variant.digest),
            number(f"{variant.n_generations:,}", detail=f"{variant.n_missing:,} missing"),
            _share_cell(index, variant.no_text),
            _share_cell(index, variant.cut_off),
        )
        for variant in index.record.variants
    )
    caption = "What was compared. All variants share decoding, stop tokens and length cap."
    head = ("Variant", "Base and adapter", "Generations", "Without text", "Cut off at the cap")
    return table(caption, head, rows, is_cards=True)


def _share_cell(index: Index, share: Estimate | None) -> Cell:
    if share is None:
        return Cell(text="not measured")
    written = write_estimate(share, unit="share", cluster_noun=index.cluster_noun)
    interval = f"{written.level} interval {written.interval}" if written.has_interval else written.interval
    return number(written.amount, detail=f"{interval}; {written.basis}")


def controls_table(index: Index, qualifications: Iterable[Qualification]) -> Table:
    """How well a judge tells true replies from planted faults, family by family."""
    groups = tuple(_controls_group(index, q) for q in qualifications)
    return Table(
        caption="Controls. AUC is unpaired; concordance is the share of pairs in which the true reply scores higher.",
        head=("Control", "AUC", "Interval", "Concordance", "Rows / clusters", "Status"),
        groups=groups,
    )


def judge_standing(judge: JudgeRow, qualifications: Sequence[Qualification]) -> str:
    """What this judge's scores may support, and what the controls found against it."""
    against = "".join(f" On {q.criterion}: {q.reason.rstrip('.')}." for q in qualifications if q.reason)
    return f"{_standing(judge, qualifications)}{against}"


def measure_note(measure: Measure, *, is_difference: bool = False) -> str:
    """Unit, direction and smallest effect of a measure, for a heading."""
    share = "percentage points" if is_difference else "per cent"
    parts = [measure.unit if measure.unit != "share" else share]
    if measure.better is not None:
        parts.append(f"{measure.better} is better")
    if measure.smallest_effect is not None:
        parts.append(f"smallest effect that matters: {write_smallest_effect(measure.smallest_effect)}")
    return " · ".join(part for part in parts if part)


def interval_head(estimates: Iterable[Estimate]) -> str:
    """Column head: the level where all share one, else the bare word."""
    levels = {write_level(estimate) for estimate in estimates}
    return f"{levels.pop()} interval" if len(levels) == 1 else MIXED_LEVELS


def _standing(judge: JudgeRow, qualifications: Sequence[Qualification]) -> str:
    if judge.exploratory_reason or judge.is_self_family:
        why = judge.exploratory_reason or "It shares weights or family with a variant that it judges."
        return f"Exploratory: its scores are shown and support no verdict. {why}"
    qualified = [q.criterion for q in qualifications if q.status == "qualified"]
    if not qualified:
        return "Not qualified on any criterion: its scores are shown and support no verdict."
    return (
        f"Qualified on planted faults for {', '.join(qualified)}. Verdicts on model replies stay control-qualified "
        "until agreement with people has been measured on generations."
    )


def _by_measure(
    index: Index, named: tuple[Named, ...], as_row: Callable[[Named], Row], *, is_difference: bool = False
) -> tuple[Group, ...]:
    """One group a measure; `named` comes sorted by measure from the index."""
    return tuple(
        Group(
            heading=index.measures[name].label,
            note=measure_note(index.measures[name], is_difference=is_difference),
            rows=tuple(as_row(n) for n in members),
        )
        for name, members in groupby(named, key=lambda n: n.finding.name)
    )


def _contrast_row(index: Index, named: Named, interval: str) -> Row:
    said = statement(index, named)
    between, contrast = index.between(named.finding), named.finding.contrast or ""
    return row(
        Cell(text=between, detail="" if slug(between) == slug(contrast) else contrast),
        *estimate_cells(said.number, named.finding.estimate, href=named.anchor, has_level=interval == MIXED_LEVELS),
        Cell(text=said.label.capitalize(), detail="; ".join(said.marks), badge=said.label),
    )


def _variant_number_row(index: Index, named: Named, interval: str) -> Row:
    written = index.write(named.finding)
    judge = f"judge {index.judge(named.finding)}" if named.finding.judge_id else ""
    return row(
        Cell(text=named.finding.variant or "", detail=judge, title=named.finding.judge_id or ""),
        *estimate_cells(written, named.finding.estimate, href=named.anchor, has_level=interval == MIXED_LEVELS),
        Cell(text=named.finding.estimate.method, detail="; ".join(named.finding.estimate.notes)),
    )


def _controls_group(index: Index, qualification: Qualification) -> Group:
    rows = []
    for control in qualification.families:
        concordance = _write_auc(index, control.concordance)
        amount, interval, n = estimate_cells(_write_auc(index, control.auc), control.auc, has_level=True)
        rows.append(
            row(
                Cell(text=control.label, detail=control.kind),
                amount,
                interval,
                number(concordance.amount, detail=concordance.interval),
                n,
                Cell(text=write_status(control.status), detail=control.settle, badge=control.status),
            )
        )
    extras = [
        f"{label} {_write_auc(index, estimate).text}"
        for label, estimate in (
            ("scored the same twice:", qualification.repeatability),
            ("rank correlation with reply length:", qualification.length_sensitivity),
        )
        if estimate is not None
    ]
    note = " · ".join(part for part in (write_status(qualification.status), qualification.reason, *extras) if part)
    return Group(heading=qualification.criterion, note=note, rows=tuple(rows))


def _write_auc(index: Index, estimate: Estimate) -> Written:
    return write_estimate(estimate, unit="", grain=Grain.REPLY, cluster_noun=index.cluster_noun)


def estimate_cells(
    written: Written, estimate: Estimate, *, href: str = "", has_level: bool = False
) -> tuple[Cell, Cell, Cell]:
    """An estimate in three cells: its value, its interval with the degrees of freedom, and what it rests on."""
    level = written.level if has_level and written.has_interval else ""
    freedom = f"{estimate.df:.3g} df" if estimate.df is not None else ""
    detail = ", ".join(part for part in (level, freedom) if part)
    interval = Cell(text=written.interval, detail=detail, is_number=written.has_interval)
    return number(written.amount, href=href), interval, number(written.rows, detail=written.missing)
