"""What counts as a look at TEST: figures or replies that were not seen before."""

from __future__ import annotations

import pytest

from harness.reporting.looks import PROMPTS_TAG, log_look, looks_at
from harness.reporting.runs import ANALYSIS
from harness.tracking import Stage, StageResult, Tracking


@pytest.fixture
def prepared() -> StageResult:
    def work(stage: Stage) -> None:
        (stage.folder / "prompts.txt").write_text("held out")

    return Tracking().stage("prepare", revision=1, config={}, inputs={}, work=work)


def test_a_look_counts_once_for_what_it_showed(prepared: StageResult) -> None:
    tracking = Tracking()
    first = log_look(tracking, prepared.run_id, through="study", seen={"name": "s", "ratings": 3})
    assert (first.n, first.said) == (1, "TEST has been looked at once, reports and this look included.")
    again = log_look(tracking, prepared.run_id, through="study", seen={"name": "s", "ratings": 3})
    assert again.n == 1
    more = log_look(tracking, prepared.run_id, through="study", seen={"name": "s", "ratings": 4})
    other = log_look(tracking, prepared.run_id, through="browse", seen={"name": "s", "ratings": 4})
    assert (more.n, other.n) == (2, 3)


def test_reports_and_looks_are_counted_together(prepared: StageResult) -> None:
    tracking = Tracking()
    tags = {PROMPTS_TAG: prepared.digest}
    tracking.stage(ANALYSIS, revision=1, config={}, inputs={}, work=lambda stage: None, tags=tags)
    assert log_look(tracking, prepared.run_id, through="chat", seen={"session": "a"}).n == 2
    assert len(looks_at(tracking, prepared.digest)) == 2
    assert looks_at(tracking, "other data") == frozenset()


def test_data_of_another_store_are_said_not_to_be_on_record() -> None:
    looked = log_look(Tracking(), "0" * 32, through="study", seen={})
    assert looked.n is None
    assert "not on record" in looked.said
