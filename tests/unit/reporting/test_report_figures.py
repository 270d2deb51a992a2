"""Pictures: well-formed, described in words, bounded in size, honest about scale."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_example import estimate, example_record

from harness.reporting.figures.axis import spanning
from harness.reporting.figures.strips import MAX_DOTS, dots
from harness.reporting.figures.svg import Figure
from harness.reporting.page import page
from harness.reporting.parts import Pictures
from harness.reporting.record import ReportRecord, distribution
from harness.types import Contrast, Finding, Verdict, VerdictLabel

SVG = "{http://www.w3.org/2000/svg}"


def figures(record: ReportRecord | None = None) -> list[Figure]:
    laid = page(record or example_record())
    parts = [part for section in laid.sections for part in section.parts if isinstance(part, Pictures)]
    return [*([laid.overview] if laid.overview else []), *(figure for part in parts for figure in part.figures)]


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.title)
def test_a_picture_is_well_formed_and_has_words(figure: Figure) -> None:
    for markup in (figure.wide, figure.narrow):
        root = ET.fromstring(markup)
        assert root.get("role") == "img"
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert title.text
        assert description is not None
        assert description.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert not re.search(r'(fill|stroke|style)="', markup), "colours belong to the style sheet"
    assert figure.caption


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.title)
def test_nothing_is_drawn_outside_the_picture(figure: Figure) -> None:
    for markup in (figure.wide, figure.narrow):
        root = ET.fromstring(markup)
        width, height = float(root.get("width", 0)), float(root.get("height", 0))
        limits = {"x": width, "cx": width, "x1": width, "x2": width, "y": height, "cy": height}
        for shape in root.iter():
            for name, limit in limits.items():
                if (at := shape.get(name)) is not None:
                    assert 0 <= float(at) <= limit, (shape.tag, name, at)


def one_contrast(value: float, low: float | None, high: float | None, label: VerdictLabel) -> ReportRecord:
    finding = Finding(
        name="heldout_loss", unit="bits per byte", better="lower", estimate=estimate(value, low, high),
        contrast="c", verdict=Verdict(label=label, reason=""),
    )  # fmt: skip
    contrast = Contrast(name="c", arms=("<a> & b", "b"))
    return replace(example_record(), findings=(finding,), contrasts=(contrast,), distributions=())


def zero_and_marks(record: ReportRecord) -> tuple[float, ET.Element]:
    root = ET.fromstring(next(f for f in figures(record) if "forest" in f.wide).wide)
    zero = next(float(e.get("x1", 0)) for e in root.iter() if e.get("class") == "zero")
    return zero, root


@given(st.floats(-100, 100).filter(lambda x: abs(x) > 1e-6), st.floats(0.01, 2.0))
def test_forest_shows_on_which_side_of_zero_an_interval_lies(value: float, spread: float) -> None:
    half = abs(value) * spread
    zero, root = zero_and_marks(one_contrast(value, value - half, value + half, "inconclusive"))
    whisker = next(e for e in root.iter() if (e.get("class") or "").startswith("whisker"))
    left, right = float(whisker.get("x1", 0)), float(whisker.get("x2", 0))
    assert left < right
    assert (left <= zero <= right) == (value - half <= 0 <= value + half) or abs(half - abs(value)) < abs(value) * 0.02


@pytest.mark.parametrize("label", ["better", "worse", "equivalent", "inconclusive", "exploratory"])
def test_every_verdict_has_its_own_mark_and_its_word(label: VerdictLabel) -> None:
    _, root = zero_and_marks(one_contrast(-1.0, -2.0, -0.5, label))
    assert [e.get("class") for e in root.iter() if (e.get("class") or "").startswith("mark")] == [f"mark-{label}"]
    assert label.capitalize() in [e.text for e in root.iter(f"{SVG}text")]
    assert "<a> & b − b" in [e.text for e in root.iter(f"{SVG}text")]


def test_without_an_interval_there_is_no_whisker() -> None:
    _, root = zero_and_marks(one_contrast(-1.0, None, None, "inconclusive"))
    assert not [e for e in root.iter() if (e.get("class") or "").startswith("whisker")]


def test_a_million_rows_make_a_hundred_dots() -> None:
    rng = random.Random(3)
    large = distribution("length", "sft", [rng.gauss(10, 2) for _ in range(200_000)])
    drawn = dots(large)
    assert len(drawn) == 100
    assert abs(sum(v < 10 for v in drawn) - 50) <= 2  # half of the dots on either side of the median
    few = distribution("length", "sft", [float(i) for i in range(MAX_DOTS)])
    assert dots(few) == few.values


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_inside_the_axis_rising_and_not_too_many(low: float, width: float) -> None:
    axis = spanning([low, low + width], start=0, end=100)
    ticks = axis.ticks(6)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else width
    assert 1 <= len(ticks) <= 13
    assert list(ticks) == sorted(ticks)
    assert all(axis.low - step * 1e-6 <= t <= axis.high + step * 1e-6 for t in ticks)


@pytest.mark.parametrize(("low", "is_said"), [(0.01, True), (-0.3, False)])
def test_a_line_that_excludes_0_and_is_inconclusive_is_explained(low: float, is_said: bool) -> None:
    """Alone it excludes 0, together with the other declared contrasts it does not."""
    record = example_record()
    findings = tuple(
        replace(f, estimate=estimate(0.4, low, 0.8), verdict=replace(f.verdict, label="inconclusive"))
        if f.verdict is not None and f.verdict.in_family
        else f
        for f in record.findings
    )
    overview = page(replace(record, findings=findings)).overview
    assert overview is not None
    assert ("hold for all declared contrasts together" in overview.caption) == is_said
