"""The page of an ablation: every part is drawn, survives its JSON, and says how far it reaches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_example import as_stored, example_record
from report_example import estimate as within

from harness.reporting.ablation_page import ablation_sections
from harness.reporting.ablation_record import (
    AblationRecord,
    ArmCurves,
    ArmRow,
    CurvePoint,
    LossCurve,
    QuantileRow,
    SeedEstimate,
    SeedSpread,
    Setting,
    TailRow,
    TrendRow,
    Work,
)
from harness.reporting.figures.curves import band_points
from harness.reporting.finding_index import index
from harness.reporting.page import page
from harness.reporting.record import ReportRecord
from harness.reporting.render import read_record, render_html, render_markdown, write_report
from harness.store.artifacts import from_json, to_json
from harness.types import Estimate


def estimate(value: float) -> Estimate:
    return within(value, value - 0.1, value + 0.1)


def curve(seed: int, shift: float) -> LossCurve:
    points = tuple(CurvePoint(step=s, value=3.0 - 0.1 * s + shift) for s in (0, 5, 10))
    return LossCurve(name=f"seed {seed}", train=points, validation=points)


@pytest.fixture
def record() -> ReportRecord:
    plain = example_record()
    contrast, measure = plain.contrasts[0].name, plain.measures[0].name
    arms = plain.contrasts[0].arms
    ablation = AblationRecord(
        factors=("sft.neftune_alpha",),
        fixed=(Setting(key="temperature", value="0.8"),),
        control=arms[1],
        seeds=(11, 12, 13),
        decision="Keep it if <b>better</b>.",
        arms=(
            ArmRow(name=arms[0], settings=(Setting(key="sft.neftune_alpha", value="5"),), stages="SFT", n_seeds=2,
                   n_lost=1, seconds=120.0, own_seconds=80.0, n_train_tokens=24_000, adapters=("a/1", "a/2")),
            ArmRow(name=arms[1], settings=(Setting(key="sft.neftune_alpha", value="—"),), stages="none", n_seeds=3,
                   n_lost=0, seconds=20.0, own_seconds=5.0),
        ),
        by_seed=tuple(SeedEstimate(measure=measure, contrast=contrast, seed=seed, estimate=estimate(-0.2 + shift))
                      for seed, shift in ((11, 0.0), (12, 0.05), (13, 0.1))),
        spreads=(SeedSpread(measure=measure, contrast=contrast, variance=replace(estimate(0.04), low=0.01, high=0.25),
                            share=0.6),),
        quantiles=(QuantileRow(measure=measure, contrast=contrast, unit="bits per byte", probabilities=(0.1, 0.5, 0.9),
                               simultaneous=(estimate(-0.3), estimate(-0.2), estimate(0.1))),),
        tail=(TailRow(measure=measure, contrast=contrast, low=1.2, high=3.4, asymmetry=estimate(0.5), p_value=0.03,
                     sensitivity=estimate(0.3), low_change=estimate(-0.1), high_change=estimate(0.02),
                      note="it speaks of these adapters"),),
        trends=(TrendRow(measure=measure, order=("none", "a5", "a10"), p_value=0.2,
                         estimate=replace(estimate(0.4), low=None, high=None), basis="training runs", note=""),),
        curves=(ArmCurves(arm=arms[0], stage="SFT", curves=(curve(11, 0.0), curve(12, 0.2))),),
        work=Work(executor="local", n_workers=2, n_stages=25, n_reused=3, n_retries=1, stage_seconds=600.0,
                  wall_seconds=310.0),
    )  # fmt: skip
    return replace(plain, ablation=ablation, n_training_seeds=3)


def test_every_part_is_on_the_page(record: ReportRecord) -> None:
    text = render_html(record)
    for words in (
        "Held still", "From seed to seed", "Tails and trends", "Along the declared order", "1 failed",
        "25 distinct stages, 3 of them done before, 1 retry", "standard deviation between seeds",
        "60% of the variance of one seed", "it speaks of these adapters", "24,000", "3 training seeds",
    ):  # fmt: skip
        assert words in text, words
    assert "<b>better</b>" not in text  # escaped, as all text from files
    assert text.count("<svg") >= 2 * 2  # a band and a quantile contrast, wide and narrow


def test_the_first_picture_has_a_line_for_each_seed(record: ReportRecord) -> None:
    drawn = page(record).overview
    assert drawn is not None
    for markup in (drawn.wide, drawn.narrow):
        assert markup.count('class="seed"') == markup.count('class="seed-dot"') == 3
    assert "each training seed" in drawn.caption
    alone = page(example_record()).overview
    assert alone is not None
    assert "seed" not in alone.wide + alone.caption


def test_a_variance_is_shown_as_a_standard_deviation(record: ReportRecord) -> None:
    """0.04 [0.01, 0.25] → 0.2 [0.1, 0.5]."""
    (seeds,) = (section for section in ablation_sections(index(record)) if section.id == "seeds")
    part: Any = seeds.parts[1]
    note = part.table.groups[0].note
    assert "0.20" in note
    assert "[0.10, 0.50]" in note


def test_the_same_words_stand_in_markdown(record: ReportRecord) -> None:
    text = render_markdown(record)
    for words in ("## Design", "## From seed to seed", "## Tails and trends", "## Cost"):
        assert words in text
    assert "<b>" not in text


def test_the_record_survives_its_json(record: ReportRecord, tmp_path: Path) -> None:
    assert from_json(AblationRecord, to_json(record.ablation)) == record.ablation
    files = write_report(record, tmp_path)
    assert read_record(files.json) == as_stored(record)
    stored = json.loads(files.json.read_text())
    stored["record"]["ablation"]["tail"] = stored["record"]["ablation"]["tail"][0]  # as it was when there was but one
    files.json.write_text(json.dumps(stored))
    assert read_record(files.json) == as_stored(record)


def test_an_evaluation_has_no_such_sections() -> None:
    text = render_html(example_record())
    assert 'id="design"' not in text
    assert 'id="seeds"' not in text
    assert ablation_sections(index(example_record())) == ()


def test_a_band_is_the_range_and_the_mean_of_the_seeds_that_have_a_value() -> None:
    torn = LossCurve(name="x", validation=(CurvePoint(step=0, value=4.0), CurvePoint(step=5, value=float("nan"))))
    first, second = band_points([curve(11, 0.0), torn])[:2]
    assert (first.step, first.mean, first.low, first.high) == (0, 3.5, 3.0, 4.0)
    assert (second.step, second.low, second.high) == (5, 2.5, 2.5)
