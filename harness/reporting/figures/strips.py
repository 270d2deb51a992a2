"""Distributions as dots: every row when few, a quantile dot plot when many. Nothing is smoothed.

A quantile dot plot stands for equal shares of the rows by equal numbers of dots (Kay et al. 2016, CHI).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from harness.reporting.figures.axis import Axis, lanes_of, spanning
from harness.reporting.figures.svg import Canvas, Figure, Layout, figure, fit
from harness.reporting.finding_index import Index
from harness.reporting.numbers import Written, write_count
from harness.reporting.record import Distribution, Measure
from harness.types import Estimate, Finding

MAX_DOTS = 120  # above this the dots of one variant are quantiles
_N_QUANTILE_DOTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout(Layout):
    swarm: float  # height left for dots
    radius: float


_WIDE = _Layout(width=960, start=190, end=700, row=92, swarm=56, radius=3.4, is_narrow=False)
_NARROW = _Layout(width=350, start=8, end=342, row=126, swarm=52, radius=2.6, is_narrow=True)


def strip_plot(index: Index, measure: Measure, rows: tuple[Distribution, ...], *, id: str) -> Figure:
    """Draw one measure's rows, one line of dots a variant, with the mean and its interval below where it is known."""
    noun = measure.grain.value
    parts = [f"{d.variant}: {write_count(d.n, noun)}, {d.n_missing:,} missing." for d in rows]
    is_quantile = any(d.n > MAX_DOTS for d in rows)
    dots = f"Each dot is one hundredth of the {write_count(0, noun)[2:]}" if is_quantile else f"Each dot is one {noun}"
    has_contrast = any(n.finding.name == measure.name for n in index.of_contrasts())
    why = f" {measure.description}" if measure.description and not has_contrast else ""
    return figure(
        partial(_draw, index, measure, rows),
        _WIDE,
        _NARROW,
        id=id,
        title=f"{measure.label}: every variant's rows",
        description=" ".join(parts),
        caption=f"{dots}. The bar below is the estimate with its interval." + why,
        heading=measure.label,
    )


def dots(distribution: Distribution) -> tuple[float, ...]:
    """The values to draw: rows when few, else mid-quantiles of equal shares."""
    source = distribution.values or distribution.quantiles
    if len(distribution.values) == distribution.n <= MAX_DOTS or not source:
        return source
    import numpy as np

    return tuple(np.quantile(source, [(i + 0.5) / _N_QUANTILE_DOTS for i in range(_N_QUANTILE_DOTS)]).tolist())


def _draw(index: Index, measure: Measure, rows: tuple[Distribution, ...], layout: _Layout) -> Canvas:
    canvas = Canvas(width=layout.width)
    scale = 100.0 if measure.unit == "share" else 1.0
    estimates = {d.variant: _estimate(index, measure, d.variant) for d in rows}
    ends = [x for e in estimates.values() if e for x in (e.estimate.low, e.estimate.high) if x is not None]
    values = [v * scale for d in rows for v in (*dots(d), *ends)]
    axis = spanning(values, start=layout.start + layout.radius, end=layout.end - layout.radius, margin=0.02)
    lanes = lanes_of(layout, len(rows), top=4.0, inset=(40, layout.row - 6))
    axis.draw(canvas, lanes=lanes, n_ticks=4 if layout.is_narrow else 6)
    for place, distribution in enumerate(rows):
        y = 4.0 + layout.row * place
        _swarm(canvas, [v * scale for v in dots(distribution)], axis, layout, y + layout.row - 30)
        found = estimates[distribution.variant]
        _labels(canvas, distribution, measure.grain.value, index.write(found) if found else None, layout, y)
        if found:
            _mean(canvas, found.estimate, axis, scale, y + layout.row - 16)
    unit = "per cent" if measure.unit == "share" else measure.unit
    canvas.text(layout.end, lanes[-1].bottom + 34, unit, kind="t2", anchor="end")
    canvas.height = lanes[-1].bottom + 42
    return canvas


def _swarm(canvas: Canvas, values: list[float], axis: Axis, layout: _Layout, base: float) -> None:
    """Stack dots in columns one dot wide; columns that would grow too high are pressed together."""
    columns: dict[int, int] = {}
    width = 2 * layout.radius
    places = []
    for value in values:
        column = round((axis.at(value) - axis.start) / width)
        places.append((column, columns.get(column, 0)))
        columns[column] = columns.get(column, 0) + 1
    highest = max(columns.values(), default=1)
    pitch = min(width, (layout.swarm - width) / max(highest - 1, 1))
    for column, height in places:
        canvas.circle(axis.start + column * width, base - layout.radius - height * pitch, layout.radius, kind="dot")


def _mean(canvas: Canvas, estimate: Estimate, axis: Axis, scale: float, y: float) -> None:
    axis.whisker(canvas, estimate, y, kind="better", scale=scale)
    if not math.isnan(estimate.value):
        canvas.circle(axis.at(estimate.value * scale), y, 4.5, kind="mark-better")


def _labels(
    canvas: Canvas, distribution: Distribution, noun: str, number: Written | None, layout: Layout, y: float
) -> None:
    counted = f"{write_count(distribution.n, noun)}, {distribution.n_missing:,} missing"
    if layout.is_narrow:
        canvas.text(0, y + 14, fit(distribution.variant, 150), kind="t strong")
        canvas.text(layout.width, y + 14, counted, kind="t2", anchor="end")
        if number:
            canvas.text(0, y + 31, fit(number.effect, 340, size=12), kind="t2")
        return
    middle = y + layout.row / 2
    canvas.text(0, middle, fit(distribution.variant, layout.start - 16), kind="t strong")
    canvas.text(0, middle + 17, fit(counted, layout.start - 8, size=12), kind="t2")
    if number:
        canvas.text(layout.end + 20, middle, number.amount, kind="t num")
        canvas.text(layout.end + 20, middle + 17, fit(number.interval, 240, size=12), kind="t2 num")


def _estimate(index: Index, measure: Measure, variant: str) -> Finding | None:
    of_variants = index.of_variants()
    return next(
        (n.finding for n in of_variants if n.finding.name == measure.name and n.finding.variant == variant), None
    )
