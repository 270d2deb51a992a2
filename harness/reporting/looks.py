"""Looks at TEST: every report, and whatever else showed somebody results or replies of the held-out prompts.

A look is figures or replies that were not on anybody's screen before: the same page drawn again is the same look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.reporting.finished_reports import ANALYSIS
from harness.reporting.numbers import write_times
from harness.store.artifacts import digest_json

if TYPE_CHECKING:
    from harness.store.tracking import Stage, Tracking
    from harness.studies.results import StudyResults

LOOK = "look"  # the stage of a look that is no report
REVISION = 1
PROMPTS_TAG = "test_prompts"  # digest of the prepared data whose TEST prompts were looked at
QUESTIONS_TAG = "questions"  # digests of the questions that a report answered, with a space between
MOST = 1000  # that are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """How often TEST was looked at, this time included."""

    n: int | None  # None: nothing was counted
    said: str  # to the reader; empty where there is nothing to say


def looks_at(tracking: Tracking, prompts: str) -> Mapping[str, frozenset[str]]:
    """Runs that are looks at the TEST prompts of prepared data, by its digest: run id → questions that it answered."""
    return {
        run.run_id: frozenset(run.tags.get(QUESTIONS_TAG, "").split())
        for stage in (ANALYSIS, LOOK)
        for run in tracking.find(stage=stage, status=None, limit=MOST, **{PROMPTS_TAG: prompts})
    }


def look_at_study(tracking: Tracking, found: StudyResults) -> Looked:
    """The look of one who reads a study's figures; pairs picked by hand and TRAIN prompts are no sample of TEST."""
    prepared = found.study.lineage.get("prepared")
    if found.study.split != "test" or prepared is None or found.n_rated == 0:
        return Looked(n=None, said="")
    return log_look(tracking, prepared, through="study", seen=found.seen)


def log_look(tracking: Tracking, prepared: str, *, through: str, seen: Mapping[str, object]) -> Looked:
    """Put a look on record unless the same was seen before.

    `prepared` is the run that prepared the data, `through` where it was seen (study, browse, chat). A store that does
    not know that run says so: a look that cannot be counted is no reason to show nothing.
    """
    try:
        prompts = tracking.source_of(tracking.run(prepared)).tags["output_digest"]
    except InputError as err:
        return Looked(n=None, said=f"This look at TEST is not on record: {err}")
    config = {"through": through, "seen": dict(seen)}
    key = digest_json(config)

    def work(stage: Stage) -> None:
        stage.set_tag(PROMPTS_TAG, prompts)
        stage.set_tag("look", key)

    if not tracking.find(stage=LOOK, look=key, limit=1, **{PROMPTS_TAG: prompts}):
        tracking.stage(LOOK, revision=REVISION, config=config, inputs={PROMPTS_TAG: prompts}, work=work)
    n = len(looks_at(tracking, prompts))
    return Looked(n=n, said=f"TEST has been looked at {write_times(n)}, reports and this look included.")
