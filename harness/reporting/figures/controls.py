"""Controls of one judge: AUC per family and criterion against the line that qualifies."""

from __future__ import annotations

import math
from functools import partial

from harness.reporting.figures.axis import Axis, Lane
from harness.reporting.figures.svg import Canvas, Figure, Layout, figure, fit
from harness.reporting.numbers import write_estimate, write_status
from harness.types import ControlResult, Qualification

QUALIFYING_AUC = 0.60  # the lower bound must lie above it on every family
_MARKS = {"qualified": "better", "not_qualified": "worse", "inconclusive": "inconclusive"}


_WIDE = Layout(width=960, start=240, end=660, row=30, is_narrow=False)
_NARROW = Layout(width=350, start=12, end=338, row=68, is_narrow=True)


def controls_plot(qualifications: tuple[Qualification, ...], *, id: str, cluster_noun: str) -> Figure:
    """Draw every control family of one judge; an adversarial control below the line disqualifies too."""
    said = [
        f"{q.criterion}, {c.label}: "
        f"{write_estimate(c.auc, unit='', cluster_noun=cluster_noun).text}; {write_status(c.status).lower()}."
        for q in qualifications
        for c in q.families
    ]
    return figure(
        partial(_draw, qualifications),
        _WIDE,
        _NARROW,
        id=id,
        title="Controls: does the judge prefer the true reply?",
        description=" ".join(said),
        caption="ROC AUC of true replies against planted faults. Qualified: the whole interval right of 0.60 in every "
        "family. At 0.5 the judge sees no difference; left of it, it prefers the fault.",
    )


def _draw(qualifications: tuple[Qualification, ...], layout: Layout) -> Canvas:
    canvas = Canvas(width=layout.width)
    axis = Axis(low=0.0, high=1.0, start=layout.start, end=layout.end)
    top, heading = 22.0, 32 if layout.is_narrow else 34
    n_rows = sum(len(q.families) for q in qualifications)
    bottom = top + layout.row * n_rows + heading * len(qualifications)
    lanes = _narrow_lanes(qualifications, layout, top, heading) if layout.is_narrow else (Lane(top=top, bottom=bottom),)
    axis.draw(canvas, lanes=lanes, n_ticks=5)
    axis.rule(canvas, 0.5, lanes=lanes, kind="chance")
    axis.rule(canvas, QUALIFYING_AUC, lanes=lanes, kind="qualifying")
    canvas.text(axis.at(QUALIFYING_AUC), top - 7, f"qualifies above {QUALIFYING_AUC:.2f}", kind="t2", anchor="middle")
    y = top
    for qualification in qualifications:
        words = f"{qualification.criterion}: {write_status(qualification.status).lower()}"
        canvas.text(0, y + 22, fit(words, layout.end if layout.is_narrow else layout.start - 12), kind="t strong")
        y += heading
        for control in qualification.families:
            _row(canvas, control, axis, layout, y)
            y += layout.row
    canvas.height = bottom + 26
    return canvas


def _narrow_lanes(
    qualifications: tuple[Qualification, ...], layout: Layout, top: float, heading: float
) -> tuple[Lane, ...]:
    lanes = []
    for qualification in qualifications:
        top += heading
        for _ in qualification.families:
            lanes.append(Lane(top=top + 38, bottom=top + 62))
            top += layout.row
    return tuple(lanes)


def _row(canvas: Canvas, control: ControlResult, axis: Axis, layout: Layout, top: float) -> None:
    name = control.label
    kind = "" if control.kind == "discrimination" else f" ({control.kind})"
    number = write_estimate(control.auc, unit="")
    y = top + (50 if layout.is_narrow else layout.row / 2)
    status = write_status(control.status)
    verdict = _MARKS[control.status]
    if layout.is_narrow:
        canvas.text(0, top + 14, fit(name + kind, 235), kind="t")
        canvas.text(layout.width, top + 14, status, kind=f"t verdict-{verdict}", anchor="end")
        canvas.text(0, top + 31, fit(number.effect, 340, size=12), kind="t2")
    else:
        canvas.text(0, y + 4.5, fit(name + kind, layout.start - 12), kind="t")
        canvas.text(layout.end + 20, y + 4.5, f"{number.value} {number.interval}", kind="t num")
        canvas.text(layout.width, y + 4.5, status, kind=f"t verdict-{verdict}", anchor="end")
    axis.whisker(canvas, control.auc, y, kind=verdict)
    if not math.isnan(control.auc.value):
        canvas.circle(axis.at(control.auc.value), y, 5, kind=f"mark-{verdict}")
