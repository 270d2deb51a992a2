"""The answer: what a person would say aloud of the declared contrasts, and one picture and one table of them.

Words follow the verdict, and their strength the size of the effect against the smallest that matters: a *worse* that
may be negligible is not as loud as a *better* of ten times the smallest effect. Intervals stand in picture and table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from typing import Literal

from harness.reporting.finding_index import CLAIMS, Index
from harness.reporting.numbers import write_list
from harness.reporting.record import Measure
from harness.reporting.safe_text import in_sentence
from harness.reporting.tables import Cell, Table, number, row, table
from harness.reporting.wording import Statement
from harness.types import Estimate

Strength = Literal["clear", "plain", "slight"]
CLEAR = 3.0  # times the smallest effect that matters
INSTEAD = "{own} instead of {others}"
NO_DIFFERENT = "is no different by an amount that matters"
MOST_UNSETTLED = 3  # named; more are counted


def strength(estimate: Estimate, band: float | None) -> Strength:
    """How loud an effect is: `slight` where it may be smaller than matters, `clear` from `CLEAR` times that on."""
    if not band or estimate.low is None or estimate.high is None:
        return "plain"
    if min(abs(estimate.low), abs(estimate.high)) < band:
        return "slight"
    return "clear" if abs(estimate.value) >= CLEAR * band else "plain"


def answer(found: Index, statements: tuple[Statement, ...]) -> tuple[str, ...]:
    """Sentences from the declared contrasts, one a contrast that shows something, then what is not settled."""
    family = [s for s in statements if s.is_declared and s.finding.estimate.n]
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[list[Statement]]] = {}
    for _, members in groupby(sorted(family, key=_place(found)), key=lambda s: s.finding.contrast):
        of_contrast = [s for s in members if s.label in CLAIMS]
        arms = found.arms(of_contrast[0].finding) if of_contrast else None
        if arms:  # contrasts of one variant that say the same are said once
            key = (arms[0], tuple((s.finding.name, s.label) for s in of_contrast))
            groups.setdefault(key, []).append(of_contrast)
    told: dict[tuple[str, str, str], list[str]] = {}
    for (treatment, _), same in groups.items():
        references, does = _says(found, same)  # variants that differ from one reference by nothing are said together
        told.setdefault((references, does, "" if does.startswith(NO_DIFFERENT) else treatment), []).append(treatment)
    said = []
    for (references, does, _), variants in told.items():
        said.append(
            f"Compared with {references}, {write_list(variants)} "
            f"{does if len(variants) == 1 else does.replace('is', 'are', 1)}."
        )
    open_ = [s for s in family if s.label == "inconclusive"]
    if open_:
        said.append(_unsettled(found, open_, others=bool(said)))
    if not family:
        said.append("No declared contrast could be tested." if found.of_contrasts() else "No contrast was estimated.")
    judges = [j for j in found.record.judges if j.exploratory_reason or j.is_self_family]
    if judges and len(judges) == len(found.record.judges):
        said.append("No judge may be believed here, so nothing is said about how people would like the replies.")
    return tuple(said)


def _says(found: Index, contrasts: list[list[Statement]]) -> tuple[str, str]:
    """The references, and what a variant does beside them: `clearly fits what people wrote better (1.44 …)`."""
    references = [arms[1] for c in contrasts if (arms := found.arms(c[0].finding))]
    told, same = [], []
    for of_measure in zip(*contrasts, strict=True):
        measure = _measure(found, of_measure[0])
        if of_measure[0].label == "equivalent":
            same.append(in_sentence(measure.label))
        else:
            told.append(_told(found, measure, of_measure))
    told += [f"{NO_DIFFERENT} on {write_list(same)}"] if same else []
    return write_list(references), write_list(told)


def _told(found: Index, measure: Measure, statements: tuple[Statement, ...]) -> str:
    """`fits what people wrote better (1.44 instead of 1.68 bits per byte)`; as loud as the weakest of them."""
    label = in_sentence(measure.label)
    better, worse = measure.phrase or (f"scores better on {label}", f"scores worse on {label}")
    strengths = {strength(s.finding.estimate, measure.band) for s in statements}
    clearly = "clearly " if strengths == {"clear"} else ""
    doubt = ", perhaps by too little to matter" if "slight" in strengths else ""
    does = better if statements[0].label == "better" else worse
    return f"{clearly}{does} ({_values(found, measure, statements)}{doubt})"


def _values(found: Index, measure: Measure, statements: tuple[Statement, ...]) -> str:
    """The variants' own numbers: `1.44 instead of 1.68 bits per byte`; the effect where a side is several arms."""
    first = statements[0].finding
    own = {
        n.finding.variant: found.write(n.finding)
        for n in found.of_variants()
        if n.finding.name == first.name and n.finding.judge_id == first.judge_id
    }
    sides = [found.arms(s.finding) for s in statements]
    if any(arms is None or arms[0] not in own or arms[1] not in own for arms in sides):
        return "; ".join(s.number.effect for s in statements)
    known = [arms for arms in sides if arms is not None]
    *values, last = [own[reference] for _, reference in known]
    if {v.value for v in (*values, last)} == {own[known[0][0]].value}:  # alike as written: the effect tells them apart
        return "; ".join(s.number.effect for s in statements)
    others = write_list([*(v.value for v in values), last.amount])
    return (measure.meaning or INSTEAD).format(own=own[known[0][0]].value, others=others)


def _unsettled(found: Index, open_: list[Statement], *, others: bool) -> str:
    named: list[str] = []
    for said in open_[:MOST_UNSETTLED]:
        if arms := found.arms(said.finding):
            measure = _measure(found, said)
            values = "" if named else f" ({_values(found, measure, (said,))})"  # the first: what is asked first
            named.append(f"{arms[0]} against {arms[1]} on {in_sentence(measure.label)}{values}")
    more = len(open_) - len(named)
    told = write_list([*named, f"{more} more"] if more else named)
    return f"{'Still open' if others else 'Nothing is settled'}: {told}."


def _measure(found: Index, said: Statement) -> Measure:
    return found.measures[said.finding.name]


def _place(found: Index) -> Callable[[Statement], tuple[int, int]]:
    """Contrasts as declared, and in each the measures as declared."""
    order = {name: place for place, name in enumerate(found.contrasts)}
    measures = {name: place for place, name in enumerate(found.measures)}

    def place(said: Statement) -> tuple[int, int]:
        finding = said.finding
        return order.get(finding.contrast or "", len(order)), measures.get(finding.name, len(measures))

    return place


def overview_table(found: Index, statements: tuple[Statement, ...]) -> Table:
    """Variants × declared measures, every cell with its interval."""
    columns = dict.fromkeys((s.finding.name, s.finding.judge_id) for s in statements if s.is_declared)
    own = {(n.finding.variant, n.finding.name, n.finding.judge_id): n for n in found.of_variants()}
    rows = []
    for variant in dict.fromkeys(n.finding.variant for n in found.of_variants()):
        cells = []
        for column in columns:
            named = own.get((variant, *column))
            if named is None or math.isnan(named.finding.estimate.value):
                cells.append(Cell(text="not measured"))
                continue
            written = found.write(named.finding)
            cells.append(number(written.amount, detail=written.interval, href=named.anchor))
        rows.append(row(variant or "", *cells))
    caption = (
        "Each variant by itself on what was declared, with its interval. Contrasts above compare the same prompts pair "
        "by pair, and are sharper."
    )
    head = ("Variant", *(_head(found.measures[name]) for name, _ in columns))
    return table(caption, head, rows if columns else (), is_cards=True)


def _head(measure: Measure) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(measure.better or "", "")
    return f"{measure.label}{arrow}"


def claims_line(statements: tuple[Statement, ...]) -> str:
    """`6 declared contrasts: 3 better, 1 worse, 2 inconclusive`."""
    family = [s for s in statements if s.is_declared]
    counts = {label: sum(s.label == label for s in family) for label in (*CLAIMS, "inconclusive", "exploratory")}
    told = ", ".join(f"{n} {label}" for label, n in counts.items() if n)
    return f"{len(family)} declared: {told}" if family else "none declared"
