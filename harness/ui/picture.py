"""Votes as a picture: each prompt a dot, and how mean and band moved from prompt to prompt.

Drawn by style alone, since `st.html` lets no SVG through; it fits any width, and words stay text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.reporting.numbers import write_count, write_estimate
from harness.studies.results import PairResult
from harness.types import Estimate
from harness.ui.drawing import inert

_HEIGHT, _DOT = 96, 9  # pixels of a full column and of a dot


def draw_votes(pair: PairResult) -> str:
    """The two pictures with their words; empty before the first prompt."""
    if not pair.tally.prompts:
        return ""
    names = (
        f'<p class="ends"><span>all for {inert(pair.opponent)}</span><span>even</span>'
        f"<span>all for {inert(pair.variant)}</span></p>"
    )
    n = write_count(len(pair.tally.prompts), "prompt")
    return (
        '<div class="read picture"><p class="quiet">Each dot is a prompt, placed by the mean of its votes</p>'
        f"{_dots(pair)}{names}"
        f'<p class="quiet">Mean vote for {inert(pair.variant)} after each of {n}, with its band</p>'
        f"{_course(pair)}</div>"
    )


def _dots(pair: PairResult) -> str:
    columns = Counter(round(prompt.mean, 3) for prompt in pair.tally.prompts)
    pitch = min(_DOT, _HEIGHT / max(columns.values()))
    placed = "".join(
        f'<i style="left:{100 * mean:.1f}%;bottom:{k * pitch:.1f}px"></i>'
        for mean, n in sorted(columns.items())
        for k in range(n)
    )
    told = "; ".join(f"{write_count(n, 'prompt')} at {100 * mean:.0f} %" for mean, n in sorted(columns.items()))
    return f'<div class="dots" role="img" aria-label="{inert(told)}">{placed}</div>'


def _course(pair: PairResult) -> str:
    course = pair.tally.course
    steps = [100 * i / max(1, len(course) - 1) for i in range(len(course))]
    if len(course) == 1:
        steps, course = [0.0, 100.0], course * 2
    band = _outline(steps, [e.high for e in course], [e.low for e in course])
    line = _outline(steps, [e.value for e in course], [e.value for e in course], thick=1)
    now: Estimate = course[-1]
    told = f"Now {write_estimate(now, unit='share').effect}"
    return (
        f'<div class="course" role="img" aria-label="{inert(told)}"><b style="clip-path:polygon({band})"></b>'
        f'<u style="clip-path:polygon({line})"></u><span>100 %</span><span>50 %</span><span>0 %</span></div>'
    )


def _outline(
    steps: list[float], upper: Iterable[float | None], lower: Iterable[float | None], *, thick: float = 0
) -> str:
    """Corners of an area between two lines, in per cent of the box; `thick` pixels are added either way."""
    there = [f"{x:.2f}% calc({100 - 100 * (y or 0):.2f}% - {thick}px)" for x, y in zip(steps, upper, strict=True)]
    back = [f"{x:.2f}% calc({100 - 100 * (y or 0):.2f}% + {thick}px)" for x, y in zip(steps, lower, strict=True)]
    return ", ".join([*there, *reversed(back)])
