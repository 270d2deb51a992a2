"""Loss curves of several seeds as one band: the mean over seeds, and from the lowest to the highest of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.reporting.ablation_record import ArmCurves, LossCurve
from harness.reporting.figures.axis import Axis, Lane, spanning
from harness.reporting.figures.svg import Canvas, Figure, fit

_WIDE, _NARROW = 460.0, 350.0
_TOP, _BOTTOM, _LEFT, _RIGHT = 14.0, 220.0, 44.0, 12.0


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
                figures.append(_figure(curves, bands, values, id=f"band-{stage.split()[0].lower()}-{place}"))
    return tuple(figures)


def _figure(curves: ArmCurves, bands: Mapping[str, tuple[BandPoint, ...]], values: list[float], *, id: str) -> Figure:
    n, unit = len(curves.curves), curves.curves[0].unit.lower()
    return Figure(
        wide=_draw(curves, bands[curves.arm], values, width=_WIDE, id=f"{id}-w"),
        narrow=_draw(curves, bands[curves.arm], values, width=_NARROW, id=f"{id}-n"),
        caption=f"Validation, {unit}: mean and range of {n} {'seed' if n == 1 else 'seeds'}. A trace, no interval.",
        title=f"{curves.arm}: {curves.stage}",
    )


def _draw(curves: ArmCurves, points: tuple[BandPoint, ...], values: list[float], *, width: float, id: str) -> str:
    canvas = Canvas(width=width)
    x = spanning([0.0, *(p.step for p in points)], start=_LEFT, end=width - _RIGHT, margin=0.0)
    y = spanning(values, start=_BOTTOM, end=_TOP)
    _frame(canvas, x, y)
    edge = [(x.at(p.step), y.at(p.high)) for p in points] + [(x.at(p.step), y.at(p.low)) for p in reversed(points)]
    canvas.area(edge, kind="seed-band")
    canvas.path([(x.at(p.step), y.at(p.mean)) for p in points], kind="trace-validation")
    for point in points:
        canvas.circle(x.at(point.step), y.at(point.mean), 3.0, kind="trace-point")
    last = points[-1]
    return canvas.render(
        _BOTTOM + 40,
        id=id,
        title=fit(f"{curves.arm}: validation loss of {curves.stage}", 900),
        description=f"{len(points)} validations; at the last the seeds range from {last.low:.3f} to {last.high:.3f}.",
    )


def _frame(canvas: Canvas, x: Axis, y: Axis) -> None:
    x.draw(canvas, lanes=(Lane(top=_BOTTOM, bottom=_BOTTOM),), n_ticks=4)
    y.draw_upright(canvas, left=_LEFT, right=x.end)
    canvas.line(_LEFT, _BOTTOM, x.end, _BOTTOM, kind="zero")
    canvas.text(x.end, _BOTTOM + 34, "steps", kind="t2", anchor="end")
