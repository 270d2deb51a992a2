"""Loss curves: the trace of one training run, training thin, validation strong, the kept checkpoint marked."""

from __future__ import annotations

import math

from harness.reporting.ablation_record import CurvePoint, LossCurve
from harness.reporting.figures.axis import Axis, Lane, spanning
from harness.reporting.figures.svg import Canvas, Figure

_WIDE, _NARROW = 460.0, 350.0
_TOP, _BOTTOM, _LEFT = 14.0, 220.0, 40.0
_LABELS = 94.0  # room right of the lines for their names


def loss_curve(curve: LossCurve, *, id: str) -> Figure:
    """Draw one run; on a wide page curves stand side by side."""
    return Figure(
        wide=_draw(curve, width=_WIDE, id=f"{id}-w"),
        narrow=_draw(curve, width=_NARROW, id=f"{id}-n"),
        caption=f"{curve.unit}. A trace of one run, no interval.",
        title=curve.name,
    )


def _draw(curve: LossCurve, *, width: float, id: str) -> str:
    points = [p for p in (*curve.train, *curve.validation) if math.isfinite(p.value)]
    canvas = Canvas(width=width)
    x = spanning([p.step for p in points] + [0.0], start=_LEFT, end=width - _LABELS, margin=0.0)
    y = spanning([p.value for p in points], start=_BOTTOM, end=_TOP)
    _frame(canvas, x, y, curve.x_unit)
    if curve.best_step is not None:
        canvas.line(x.at(curve.best_step), _TOP, x.at(curve.best_step), _BOTTOM, kind="kept")
        canvas.text(x.at(curve.best_step) - 5, _TOP + 10, "kept", kind="t2", anchor="end")
    canvas.path(_path(curve.train, x, y), kind="trace-train")
    canvas.path(_path(curve.validation, x, y), kind="trace-validation")
    for px, py in _path(curve.validation, x, y):
        canvas.circle(px, py, 3.2, kind="trace-point")
    _end_labels(canvas, curve, x, y)
    title = f"{curve.name}: training and validation loss"
    n_train, n_validation = len(curve.train), len(curve.validation)
    return canvas.render(
        _BOTTOM + 40,
        id=id,
        title=title,
        description=f"{n_train} logged training values and {n_validation} validation values over {curve.x_unit}.",
    )


def _frame(canvas: Canvas, x: Axis, y: Axis, x_unit: str) -> None:
    x.draw(canvas, lanes=(Lane(top=_BOTTOM, bottom=_BOTTOM),), n_ticks=4)
    y.draw_upright(canvas, left=_LEFT, right=x.end)
    canvas.line(_LEFT, _BOTTOM, x.end, _BOTTOM, kind="zero")
    canvas.text(x.end, _BOTTOM + 34, x_unit, kind="t2", anchor="end")


def _path(points: tuple[CurvePoint, ...], x: Axis, y: Axis) -> list[tuple[float, float]]:
    return [(x.at(p.step), y.at(p.value)) for p in points if math.isfinite(p.value)]


def _end_labels(canvas: Canvas, curve: LossCurve, x: Axis, y: Axis) -> None:
    """Name each line at its end; labels that would touch are moved apart."""
    validation, training = _path(curve.validation, x, y), _path(curve.train, x, y)
    lines = [(validation, "validation", "t strong accent"), (training, "training", "t2")]
    previous = -math.inf
    for path, name, kind in sorted((line for line in lines if line[0]), key=lambda line: line[0][-1][1]):
        at = max(path[-1][1] + 4, previous + 15)
        canvas.text(x.end + 8, at, name, kind=kind)
        previous = at
