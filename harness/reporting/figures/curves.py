"""Curves: the loss of one training run, of several seeds as a band, and how far each part of a distribution moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from harness.reporting.ablation_record import ArmCurves, CurvePoint, LossCurve, QuantileRow
from harness.reporting.figures.axis import Axis, Lane, spanning
from harness.reporting.figures.svg import Canvas, Figure, figure, fit
from harness.reporting.numbers import write_count

_WIDE, _NARROW = 460.0, 350.0
_TOP, _BOTTOM, _RIGHT = 14.0, 220.0, 12.0
_LABELS = 94.0  # room right of the lines for their names


def loss_curve(curve: LossCurve, *, id: str) -> Figure:
    """Draw one run; on a wide page curves stand side by side."""
    n_train, n_validation = len(curve.train), len(curve.validation)
    return figure(
        partial(_draw_run, curve),
        _WIDE,
        _NARROW,
        id=id,
        title=f"{curve.name}: training and validation loss",
        description=f"{n_train} logged training values and {n_validation} validation values over {curve.x_unit}.",
        caption=f"{curve.unit}. A trace of one run, no interval.",
        heading=curve.name,
    )


def _draw_run(curve: LossCurve, width: float) -> Canvas:
    points = [p for p in (*curve.train, *curve.validation) if math.isfinite(p.value)]
    canvas = Canvas(width=width, height=_BOTTOM + 40)
    x = spanning([p.step for p in points] + [0.0], start=40.0, end=width - _LABELS, margin=0.0)
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
    return canvas


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BandPoint:
    """The validation losses of all seeds at one step."""

    step: float
    mean: float
    low: float  # lowest seed
    high: float


def band_points(curves: Sequence[LossCurve]) -> tuple[BandPoint, ...]:
    """Mean and range over the seeds that have a value, step by step; what is no number is left out."""
    at: dict[float, list[float]] = {}
    for curve in curves:
        for point in curve.validation:
            if math.isfinite(point.value):
                at.setdefault(point.step, []).append(point.value)
    return tuple(
        BandPoint(step=step, mean=math.fsum(values) / len(values), low=min(values), high=max(values))
        for step, values in sorted(at.items())
    )


def band_figures(drawn: Sequence[ArmCurves]) -> tuple[Figure, ...]:
    """A figure per arm and stage; all figures of a stage share one axis, so that they can be compared by eye."""
    figures = []
    for stage in dict.fromkeys(curves.stage for curves in drawn):
        members = [curves for curves in drawn if curves.stage == stage]
        bands = {curves.arm: band_points(curves.curves) for curves in members}
        values = [v for points in bands.values() for p in points for v in (p.low, p.high)]
        for place, curves in enumerate(members):
            if bands[curves.arm]:
                figures.append(_band(curves, bands[curves.arm], values, id=f"band-{stage.split()[0].lower()}-{place}"))
    return tuple(figures)


def _band(curves: ArmCurves, points: tuple[BandPoint, ...], values: list[float], *, id: str) -> Figure:
    unit, seeds, last = curves.curves[0].unit.lower(), write_count(len(curves.curves), "seed"), points[-1]
    return figure(
        partial(_draw_band, points, values),
        _WIDE,
        _NARROW,
        id=id,
        title=fit(f"{curves.arm}: validation loss of {curves.stage}", 900),
        description=f"{len(points)} validations; at the last the seeds range from {last.low:.3f} to {last.high:.3f}.",
        caption=f"Validation, {unit}: mean and range of {seeds}. A trace, no interval.",
        heading=f"{curves.arm}: {curves.stage}",
    )


def _draw_band(points: tuple[BandPoint, ...], values: list[float], width: float) -> Canvas:
    canvas = Canvas(width=width, height=_BOTTOM + 40)
    x = spanning([0.0, *(p.step for p in points)], start=44.0, end=width - _RIGHT, margin=0.0)
    y = spanning(values, start=_BOTTOM, end=_TOP)
    _frame(canvas, x, y, "steps")
    edge = [(x.at(p.step), y.at(p.high)) for p in points] + [(x.at(p.step), y.at(p.low)) for p in reversed(points)]
    canvas.area(edge, kind="seed-band")
    canvas.path([(x.at(p.step), y.at(p.mean)) for p in points], kind="trace-validation")
    for point in points:
        canvas.circle(x.at(point.step), y.at(point.mean), 3.0, kind="trace-point")
    return canvas


def quantile_figure(row: QuantileRow, *, label: str, arms: tuple[str, str], id: str, noun: str) -> Figure:
    """Draw one contrast of one measure; a flat line is a shift of the whole distribution."""
    ends = [(e.low if e.low is not None else e.value, e.high if e.high is not None else e.value)
            for e in row.simultaneous]  # fmt: skip
    moved = "; ".join(
        f"{p:g}: {e.value:.3g} [{low:.3g}, {high:.3g}]"
        for p, e, (low, high) in zip(row.probabilities, row.simultaneous, ends, strict=True)
    )
    return figure(
        partial(_draw_quantiles, row, ends),
        _WIDE,
        _NARROW,
        id=id,
        title=f"{label}: differences of quantiles between {arms[0]} and {arms[1]}",
        description=f"{moved}.",
        caption=f"Difference of quantiles, {row.unit or label}. Left the lowest replies, right the highest. The band "
        f"holds for all {len(row.probabilities)} quantiles together at {row.simultaneous[0].level:.0%}; {noun}s were "
        "resampled, seeds taken as they are.",
        heading=f"{label}: {arms[0]} − {arms[1]}",
    )


def _draw_quantiles(row: QuantileRow, ends: list[tuple[float, float]], width: float) -> Canvas:
    canvas = Canvas(width=width, height=_BOTTOM + 40)
    y = spanning([0.0, *(v for pair in ends for v in pair)], start=_BOTTOM, end=_TOP)
    x = spanning([0.0, 1.0], start=52.0, end=width - _RIGHT, margin=0.0)
    y.draw_upright(canvas, left=x.start, right=x.end)
    x.draw(canvas, lanes=(Lane(top=_BOTTOM, bottom=_BOTTOM),), n_ticks=4)
    at = [x.at(p) for p in row.probabilities]
    upper = [(a, y.at(high)) for a, (_, high) in zip(at, ends, strict=True)]
    lower = [(a, y.at(low)) for a, (low, _) in zip(at, ends, strict=True)]
    canvas.area(upper + lower[::-1], kind="seed-band")
    canvas.line(x.start, y.at(0.0), x.end, y.at(0.0), kind="zero")
    middle = [(a, y.at(e.value)) for a, e in zip(at, row.simultaneous, strict=True)]
    canvas.path(middle, kind="trace-validation")
    for point in middle:
        canvas.circle(*point, 3.0, kind="trace-point")
    canvas.text(x.end, _BOTTOM + 34, "quantile", kind="t2", anchor="end")
    return canvas


def _frame(canvas: Canvas, x: Axis, y: Axis, x_unit: str) -> None:
    x.draw(canvas, lanes=(Lane(top=_BOTTOM, bottom=_BOTTOM),), n_ticks=4)
    y.draw_upright(canvas, left=x.start, right=x.end)
    canvas.line(x.start, _BOTTOM, x.end, _BOTTOM, kind="zero")
    canvas.text(x.end, _BOTTOM + 34, x_unit, kind="t2", anchor="end")
