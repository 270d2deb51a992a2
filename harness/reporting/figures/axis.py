"""A linear axis with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.reporting.figures.svg import Canvas, Layout
from harness.reporting.numbers import MINUS
from harness.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A horizontal part of a picture that grid lines may cross."""

    top: float
    bottom: float


def lanes_of(layout: Layout, n_rows: int, *, top: float, inset: tuple[float, float]) -> tuple[Lane, ...]:
    """One lane over all rows; on a phone one a row, `inset` from its top so that words stand above it."""
    if not layout.is_narrow:
        return (Lane(top=top, bottom=top + layout.row * n_rows),)
    tops = (top + layout.row * place for place in range(n_rows))
    return tuple(Lane(top=t + inset[0], bottom=t + inset[1]) for t in tops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Maps values in [low, high] to pixels in [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of a value; what lies beyond the axis is set on its edge."""
        clipped = min(max(value, self.low), self.high)
        return self.start + (clipped - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, n: int) -> tuple[float, ...]:
        """About n round values (1, 2 or 5 times a power of ten) inside the axis."""
        step = _round_step((self.high - self.low) / max(n, 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(i * step for i in range(first, last + 1))

    def draw(self, canvas: Canvas, *, lanes: tuple[Lane, ...], n_ticks: int) -> None:
        """Vertical grid lines in every lane, labels below the last; words stand between lanes, never on a line."""
        for tick, label in self._labelled(n_ticks):
            self.rule(canvas, tick, lanes=lanes, kind="grid")
            canvas.text(self.at(tick), lanes[-1].bottom + 16, label, kind="t2", anchor="middle")

    def draw_upright(self, canvas: Canvas, *, left: float, right: float, n_ticks: int = 4) -> None:
        """The same of an axis that stands upright: horizontal grid lines, labels left of them."""
        for tick, label in self._labelled(n_ticks):
            canvas.line(left, self.at(tick), right, self.at(tick), kind="grid")
            canvas.text(left - 8, self.at(tick) + 4, label, kind="t2", anchor="end")

    def _labelled(self, n: int) -> list[tuple[float, str]]:
        ticks = self.ticks(n)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        return [(tick, tick_label(tick, step)) for tick in ticks]

    def whisker(self, canvas: Canvas, estimate: Estimate, y: float, *, kind: str, scale: float = 1.0) -> None:
        """An interval as a line, where there is one."""
        if estimate.low is not None and estimate.high is not None and not math.isnan(estimate.low + estimate.high):
            low, high = self.at(estimate.low * scale), self.at(estimate.high * scale)
            canvas.line(low, y, high, y, kind=f"whisker w-{kind}")

    def rule(self, canvas: Canvas, value: float, *, lanes: tuple[Lane, ...], kind: str) -> None:
        """A vertical line at a value through every lane."""
        for lane in lanes:
            canvas.line(self.at(value), lane.top, self.at(value), lane.bottom, kind=kind)


def spanning(values: Iterable[float], *, start: float, end: float, margin: float = 0.06) -> Axis:
    """An axis that holds all finite values with some air.

    A point gets an axis of a fifth of its size, and so does a spread that floating point cannot divide into ticks.
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(low) * 0.1 or 1.0
        low, high = low - half, high + half
    air = (high - low) * margin
    return Axis(low=low - air, high=high + air, start=start, end=end)


def tick_label(value: float, step: float) -> str:
    """A tick with just the places that its step needs, and a true minus."""
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    text = f"{abs(value):.1e}" if places > 6 else f"{abs(value):,.{places}f}"
    is_zero = abs(value) < step / 1000
    return f"{0:.{min(places, 6)}f}" if is_zero else f"{MINUS if value < 0 else ''}{text}"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if rough <= m * power * (1 + 1e-9))
