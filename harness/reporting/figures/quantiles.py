"""Quantile contrast: how far each part of the distribution moved, with a band that holds for all parts together."""

from __future__ import annotations

from harness.reporting.ablation_record import QuantileRow
from harness.reporting.figures.axis import Lane, spanning
from harness.reporting.figures.svg import Canvas, Figure

_WIDE, _NARROW = 460.0, 350.0
_TOP, _BOTTOM, _LEFT, _RIGHT = 14.0, 220.0, 52.0, 12.0


def quantile_figure(row: QuantileRow, *, label: str, arms: tuple[str, str], id: str, noun: str) -> Figure:
    """Draw one contrast of one measure; a flat line is a shift of the whole distribution."""
    return Figure(
        wide=_draw(row, label, arms, width=_WIDE, id=f"{id}-w"),
        narrow=_draw(row, label, arms, width=_NARROW, id=f"{id}-n"),
        caption=f"Difference of quantiles, {row.unit or label}. Left the lowest replies, right the highest. The band "
        f"holds for all {len(row.probabilities)} quantiles together at {row.simultaneous[0].level:.0%}; {noun}s were "
        "resampled, seeds taken as they are.",
        title=f"{label}: {arms[0]} − {arms[1]}",
    )


def _draw(row: QuantileRow, label: str, arms: tuple[str, str], *, width: float, id: str) -> str:
    canvas = Canvas(width=width)
    ends = [(e.low if e.low is not None else e.value, e.high if e.high is not None else e.value)
            for e in row.simultaneous]  # fmt: skip
    y = spanning([0.0, *(v for pair in ends for v in pair)], start=_BOTTOM, end=_TOP)
    x = spanning([0.0, 1.0], start=_LEFT, end=width - _RIGHT, margin=0.0)
    y.draw_upright(canvas, left=_LEFT, right=x.end)
    x.draw(canvas, lanes=(Lane(top=_BOTTOM, bottom=_BOTTOM),), n_ticks=4)
    at = [x.at(p) for p in row.probabilities]
    upper = [(a, y.at(high)) for a, (_, high) in zip(at, ends, strict=True)]
    lower = [(a, y.at(low)) for a, (low, _) in zip(at, ends, strict=True)]
    canvas.area(upper + lower[::-1], kind="seed-band")
    canvas.line(_LEFT, y.at(0.0), x.end, y.at(0.0), kind="zero")
    middle = [(a, y.at(e.value)) for a, e in zip(at, row.simultaneous, strict=True)]
    canvas.path(middle, kind="trace-validation")
    for point in middle:
        canvas.circle(*point, 3.0, kind="trace-point")
    canvas.text(x.end, _BOTTOM + 34, "quantile", kind="t2", anchor="end")
    moved = "; ".join(
        f"{p:g}: {e.value:.3g} [{low:.3g}, {high:.3g}]"
        for p, e, (low, high) in zip(row.probabilities, row.simultaneous, ends, strict=True)
    )
    title = f"{label}: differences of quantiles between {arms[0]} and {arms[1]}"
    return canvas.render(_BOTTOM + 40, id=id, title=title, description=f"{moved}.")
