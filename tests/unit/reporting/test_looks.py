"""What counts as a look at TEST: figures or replies that were not seen before."""

from __future__ import annotations

import pytest

from harness.experiment.questions import Question
from harness.experiment.record_parts import declaration
from harness.reporting.finished_reports import ANALYSIS
from harness.reporting.looks import PROMPTS_TAG, QUESTIONS_TAG, log_look, looks_at
from harness.store.tracking import Stage, StageResult, Tracking


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
    assert looks_at(tracking, "other data") == {}


def test_looks_are_counted_for_each_question(prepared: StageResult) -> None:
    tracking = Tracking()
    for config, questions in (({"first": 1}, "q1 q2"), ({"second": 1}, "q2")):
        tags = {PROMPTS_TAG: prepared.digest, QUESTIONS_TAG: questions}
        tracking.stage(ANALYSIS, revision=1, config=config, inputs={}, work=lambda stage: None, tags=tags)
    asked = tuple(Question(contrast="a-b", measure=q, arms=("a", "b"), digest=q) for q in ("q1", "q3"))
    looks = looks_at(tracking, prepared.digest)
    found = declaration(asked, ("a-b on q1",), looks, digest="d", run_id="this report")
    assert (found.status, found.n_test_looks, found.question_looks) == (
        "partly",
        3,
        {"a-b on q1": 2, "a-b on q3": 1},
    )
    assert declaration(asked[:1], ("a-b on q1",), looks, digest="d", run_id="this report").status == "after"


def test_data_of_another_store_are_said_not_to_be_on_record() -> None:
    looked = log_look(Tracking(), "0" * 32, through="study", seen={})
    assert looked.n is None
    assert "not on record" in looked.said
