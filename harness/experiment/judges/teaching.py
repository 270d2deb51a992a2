"""Judges that are taught: where the head comes from that a learned judge puts on its encoder."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.experiment.kinds import stage_kind
from harness.experiment.session import Session
from harness.judging.learned.head_registry import HEAD_FOLDER, head_folder
from harness.judging.spec import JudgeSpec, TaughtHead
from harness.store.artifacts import digest_folder
from harness.store.tracking import StageResult

TAUGHT = "taught"  # the role of what teaches a judge
TEACH = "teach"  # the kind of its stage, which whoever prepares and trains declares


def needs_teaching(spec: JudgeSpec) -> bool:
    """Whether a judge is taught on the data that it judges."""
    return spec.declared.is_taught and spec.head is None and spec.taught is None


def with_head(session: Session, spec: JudgeSpec, taught: StageResult | None = None) -> JudgeSpec:
    """A judge with what it was taught: by a stage, or elsewhere where its file says so; others stay as they are.

    Raises InputError: it was taught nowhere, or what its file names is no head.
    """
    if not spec.declared.is_taught or spec.taught is not None:
        return spec
    if spec.head is not None:
        folder = head_folder(session.tracking, spec.head)
    elif taught is not None:
        folder = taught.folder / HEAD_FOLDER
    else:
        raise InputError(
            f"`{spec.name}` must be taught before it judges, and these data teach nothing: "
            "name a head taught elsewhere in its file, e.g. `head: learned/1`"
        )
    return spec.model_copy(update={"taught": TaughtHead(folder=str(folder), digest=digest_folder(folder))})


def taught_on(session: Session, spec: JudgeSpec, *, prepared: StageResult, judge: Path, seed: int) -> JudgeSpec:
    """A judge outside an experiment, taught on a prepared corpus where its file names no head."""
    if not needs_teaching(spec):
        return with_head(session, spec)
    settings = {"judge": str(judge), "seed": seed}
    return with_head(session, spec, stage_kind(TEACH).run(session, settings, {"prepared": prepared}))
