"""Forest plot: contrasts of one measure with zero line, band of effects too small to matter, and verdict."""

from __future__ import annotations

import math
from functools import partial

from harness.reporting.figures.axis import Axis, lanes_of, spanning
from harness.reporting.figures.svg import Canvas, Figure, Layout, figure, fit
from harness.reporting.finding_index import Index
from harness.reporting.record import Measure
from harness.reporting.tables import measure_note
from harness.reporting.wording import Statement

_AXIS = 46  # height of ticks and directions


_WIDE = Layout(width=960, start=190, end=640, row=40, is_narrow=False)
_NARROW = Layout(width=350, start=8, end=342, row=74, is_narrow=True)


def forest_plot(index: Index, measure: Measure, statements: tuple[Statement, ...], *, id: str) -> Figure:
    """Draw the contrasts of one measure on one axis, in the measure's own unit."""
    note = measure_note(measure, is_difference=True)
    band = " The shaded band holds effects declared too small to matter." if measure.band else ""
    return figure(
        partial(_draw, index, measure, statements),
        _WIDE,
        _NARROW,
        id=id,
        title=f"{measure.label}: every contrast with its interval",
        description=" ".join(f"{s.claim} {s.number.text}." for s in statements),
        caption=f"{measure.description} {note[:1].upper()}{note[1:]}.{band}".strip(),
        heading=measure.label,
    )


def mark(canvas: Canvas, x: float, y: float, label: str) -> None:
    """The sign of a verdict: filled for a claim, hollow for none, so that it is read without colour."""
    if label == "worse":
        canvas.diamond(x, y, 7, kind="mark-worse")
    elif label == "equivalent":
        canvas.rect(x - 5.5, y - 5.5, 11, 11, kind="mark-equivalent")
    else:
        canvas.circle(x, y, 6, kind=f"mark-{label}")


def _draw(index: Index, measure: Measure, statements: tuple[Statement, ...], layout: Layout) -> Canvas:
    canvas = Canvas(width=layout.width)
    scale = 100.0 if measure.unit == "share" else 1.0
    band = (measure.band or 0.0) * scale
    top = 8.0
    axis = spanning([0.0, -band, band, *_ends(statements, scale)], start=layout.start, end=layout.end, margin=0.08)
    lanes = lanes_of(layout, len(statements), top=top, inset=(38, 66))
    for lane in lanes if band else ():
        canvas.rect(axis.at(-band), lane.top, axis.at(band) - axis.at(-band), lane.bottom - lane.top, kind="band")
    axis.draw(canvas, lanes=lanes, n_ticks=4 if layout.is_narrow else 6)
    axis.rule(canvas, 0, lanes=lanes, kind="zero")
    for place, statement in enumerate(statements):
        _row(canvas, index, statement, axis, layout, scale, top + layout.row * place)
    _directions(canvas, measure, layout, lanes[-1].bottom + 36)
    canvas.height = lanes[-1].bottom + _AXIS
    return canvas


def _row(canvas: Canvas, index: Index, said: Statement, axis: Axis, layout: Layout, scale: float, top: float) -> None:
    estimate = said.finding.estimate
    judge = f", {index.judge(said.finding)}" if said.finding.judge_id else ""
    name = f"{index.between(said.finding)}{judge}"
    y = top + (52 if layout.is_narrow else layout.row / 2)
    verdict = said.label.capitalize()
    if layout.is_narrow:
        canvas.text(0, top + 13, fit(name, 230), kind="t strong")
        canvas.text(layout.width, top + 13, verdict, kind=f"t verdict-{said.label}", anchor="end")
        canvas.text(0, top + 30, fit(said.number.effect, 340, size=12), kind="t2")
    else:
        canvas.text(0, y + 4.5, fit(name, layout.start - 16), kind="t strong")
        canvas.text(layout.end + 20, y + 4.5, f"{said.number.value} {said.number.interval}", kind="t num")
        canvas.text(layout.width, y + 4.5, verdict, kind=f"t verdict-{said.label}", anchor="end")
    axis.whisker(canvas, estimate, y, kind=said.label, scale=scale)
    if not math.isnan(estimate.value):
        mark(canvas, axis.at(estimate.value * scale), y, said.label)


def _directions(canvas: Canvas, measure: Measure, layout: Layout, y: float) -> None:
    if measure.better is None:
        return
    left, right = ("better", "worse") if measure.better == "lower" else ("worse", "better")
    canvas.text(0 if layout.is_narrow else layout.start, y, f"← {left}", kind="t2")
    canvas.text(layout.width if layout.is_narrow else layout.end, y, f"{right} →", kind="t2", anchor="end")


def _ends(statements: tuple[Statement, ...], scale: float) -> list[float]:
    estimates = [s.finding.estimate for s in statements]
    return [x * scale for e in estimates for x in (e.low, e.value, e.high) if x is not None]
