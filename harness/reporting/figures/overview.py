"""Overview: every declared contrast on one scale of smallest effects that matter, right is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from harness.reporting.answer import strength
from harness.reporting.figures.axis import Axis, lanes_of, tick_label
from harness.reporting.figures.forest import mark
from harness.reporting.figures.svg import Canvas, Figure, Layout, figure, fit
from harness.reporting.finding_index import Index
from harness.reporting.record import Measure
from harness.reporting.wording import Statement
from harness.types import Estimate

TICKS = (-100.0, -30.0, -10.0, -3.0, -1.0, 0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
_WIDE = Layout(width=960, start=336, end=856, row=27, is_narrow=False)
_NARROW = Layout(width=350, start=6, end=342, row=42, is_narrow=True)
_SEED_STEP = 4.0  # between the lines of seeds, below a contrast's own
MOST_ROWS, MOST_NARROW = 10, 6  # more would push the rest of the first screen away; on a phone


def overview(found: Index, statements: Sequence[Statement]) -> Figure | None:
    """Draw the declared contrasts whose measure has a smallest effect; None where there is none.

    The axis is `asinh` of the effect in smallest effects: linear where effects are too small to matter, logarithmic
    beyond, so that an effect of 0.5 and one of 50 stand in one picture.
    """
    drawn = [s for s in statements if _is_drawn(found, s)]
    if not drawn:
        return None
    shown = drawn[:MOST_ROWS]
    more = f" {len(drawn) - len(shown)} more stand below." if len(drawn) > len(shown) else ""
    if len(shown) > MOST_NARROW:
        more += f" A narrow page draws the first {MOST_NARROW}."
    n_seeds = max(len(_seeds(found, s)) for s in shown)
    seeds = " The thin lines are the same contrast in each training seed." if n_seeds else ""
    caption = (
        "Effect in units of the smallest that was declared to matter, with its interval; the band holds effects too "
        f"small to matter, and right of it is better.{seeds}{_together(shown)}{more}"
    )
    return figure(
        partial(_draw, found, shown, n_seeds),
        _WIDE,
        _NARROW,
        id="overview",
        title="All declared contrasts",
        description=" ".join(f"{s.claim} {s.number.text}." for s in shown),
        caption=caption,
    )


def _together(shown: Sequence[Statement]) -> str:
    """Why a line that stays on one side of 0 is called inconclusive; empty where none is."""
    ends = [_ends(s.finding.estimate) for s in shown if s.label == "inconclusive"]
    if not any(low > 0 or high < 0 for low, _, high in ends):
        return ""
    return (
        " Verdicts have to hold for all declared contrasts together, so a line that stays on one side of 0 by itself "
        "may still be inconclusive."
    )


def _is_drawn(found: Index, said: Statement) -> bool:
    measure = found.measures[said.finding.name]
    return bool(said.is_declared and measure.band and measure.better and math.isfinite(said.finding.estimate.value))


def _draw(found: Index, shown: Sequence[Statement], n_seeds: int, layout: Layout) -> Canvas:
    shown = shown[:MOST_NARROW] if layout.is_narrow else shown
    canvas = Canvas(width=layout.width)
    row = layout.row + _SEED_STEP * n_seeds
    reach = max(3.0, *(abs(x) for s in shown for x in _span(found, s)))
    far = math.asinh(min(reach, 300.0) * 1.08)
    axis = Axis(low=-far, high=far, start=layout.start, end=layout.end)
    lanes = lanes_of(replace(layout, row=row), len(shown), top=4, inset=(18, row))
    bottom = lanes[-1].bottom
    for lane in lanes:
        left, right = axis.at(math.asinh(-1)), axis.at(math.asinh(1))
        canvas.rect(left, lane.top, right - left, lane.bottom - lane.top, kind="band")
    for tick in (t for t in TICKS if abs(t) <= reach * 1.08):
        if layout.is_narrow and abs(tick) not in (0.0, 1.0, 10.0, 100.0):
            continue
        axis.rule(canvas, math.asinh(tick), lanes=lanes, kind="zero" if tick == 0 else "grid")
        canvas.text(axis.at(math.asinh(tick)), bottom + 15, tick_label(tick, 1.0), kind="t2", anchor="middle")
    for place, said in enumerate(shown):
        _row(canvas, found, said, axis, layout, 4 + row * place)
    canvas.text(axis.start, bottom + 31, "← worse", kind="t2")
    canvas.text(axis.end, bottom + 31, "better →", kind="t2", anchor="end")
    canvas.height = bottom + 37
    return canvas


def _row(canvas: Canvas, found: Index, said: Statement, axis: Axis, layout: Layout, top: float) -> None:
    finding, measure = said.finding, found.measures[said.finding.name]
    text = f"{found.between(finding)}, {measure.label[:1].lower()}{measure.label[1:]}"
    loud = strength(finding.estimate, measure.band)
    kind = "slight" if loud == "slight" and said.label in ("better", "worse") else said.label
    y, base, room = top + layout.row / 2, top + layout.row / 2 + 4.5, layout.start - 18
    if layout.is_narrow:
        y, base, room = top + 30, top + 13, 250
    canvas.text(0, base, fit(text, room), kind="t")
    canvas.text(layout.width, base, said.label.capitalize(), kind=f"t verdict-{kind}", anchor="end")
    low, value, high = (_scaled(x, measure) for x in _ends(finding.estimate))
    if math.isfinite(low) and math.isfinite(high):
        canvas.line(axis.at(math.asinh(low)), y, axis.at(math.asinh(high)), y, kind=f"whisker w-{kind}")
    mark(canvas, axis.at(math.asinh(value)), y, said.label)
    for place, seed in enumerate(_seeds(found, said)):
        at = y + 10 + _SEED_STEP * place
        low, value, high = (axis.at(math.asinh(_scaled(x, measure))) for x in _ends(seed))
        if math.isfinite(low) and math.isfinite(high):
            canvas.line(low, at, high, at, kind="seed")
        if math.isfinite(value):
            canvas.circle(value, at, 1.8, kind="seed-dot")


def _seeds(found: Index, said: Statement) -> list[Estimate]:
    """A contrast in each training seed by itself; none where it is not crossed with seeds."""
    finding, record = said.finding, found.record.ablation
    key = (finding.name, finding.contrast, finding.judge_id)
    by_seed = () if record is None else record.by_seed
    return [each.estimate for each in by_seed if (each.measure, each.contrast, each.judge_id) == key]


def _ends(e: Estimate) -> tuple[float, float, float]:
    return (math.nan if e.low is None else e.low, e.value, math.nan if e.high is None else e.high)


def _scaled(value: float, measure: Measure) -> float:
    """In smallest effects, turned so that more is better."""
    sign = 1.0 if measure.better == "higher" else -1.0
    return sign * value / (measure.band or 1.0)


def _span(found: Index, said: Statement) -> list[float]:
    measure = found.measures[said.finding.name]
    of_seeds = [e for seed in _seeds(found, said) for e in _ends(seed)]
    ends = (_scaled(end, measure) for end in [*_ends(said.finding.estimate), *of_seeds])
    return [x for x in ends if math.isfinite(x)]
