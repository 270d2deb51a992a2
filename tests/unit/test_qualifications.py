"""Qualifications are kept under the judge's id and found again by other runs."""

from __future__ import annotations

from harness.experiment.judges.qualifications import QUALIFICATIONS, STAGE, stored_qualifications
from harness.store.artifacts import write_json
from harness.store.tracking import Stage, Tracking
from harness.types import Qualification


def qualified(judge_id: str, reason: str) -> Qualification:
    return Qualification(judge_id=judge_id, criterion="coherence", status="qualified", families=(), reason=reason)


def keep(tracking: Tracking, judge_id: str, reason: str) -> None:
    def work(stage: Stage) -> None:
        write_json(stage.folder / QUALIFICATIONS, [qualified(judge_id, reason)])
        stage.set_tag("judge_id", judge_id)

    tracking.stage(STAGE, revision=1, config={"judge_id": judge_id, "reason": reason}, inputs={}, work=work)


def test_the_newest_of_a_judge_is_found_and_no_others() -> None:
    tracking = Tracking()
    assert stored_qualifications(tracking, "a@1") == ()
    keep(tracking, "a@1", "first")
    keep(tracking, "b@2", "of another judge")
    keep(tracking, "a@1", "second")
    keep(tracking, "a@1", "second")  # reused: the run that stands in its place holds no files of its own
    assert stored_qualifications(tracking, "a@1") == (qualified("a@1", "second"),)
    assert stored_qualifications(tracking, "a@2") == ()
