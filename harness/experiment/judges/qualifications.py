"""Qualifications as stages: the controls of a judge, a user's own among them, kept under the judge's id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import InputError
from harness.experiment.judges.judge_uses import JudgeUse, judge_of
from harness.experiment.preparing import prompts_of
from harness.experiment.session import OnProgress, Session
from harness.judging.controls import make_control_set, read_controls
from harness.judging.judge_protocol import TaughtJudge
from harness.judging.qualification import qualify, without_controls
from harness.judging.spec import JudgeSpec
from harness.seeding import stream
from harness.store.artifacts import digest_file, from_json, read_json, write_json
from harness.store.tracking import Stage, StageResult, Tracking
from harness.terminal import warning
from harness.types import ControlItem, Prompt, Qualification

QUALIFY_REVISION = 1
ANSWERS_REVISION = 2  # of controls in tasks other than dialogue
STAGE = "qualify"
QUALIFICATIONS = "qualifications.json"


def qualify_stage(
    session: Session, use: JudgeUse, *, prepared: StageResult, n: int, seed: int, own_controls: Path | None = None
) -> tuple[Qualification, ...]:
    """Planted controls on true replies of TRAIN and VALIDATION, as the judge's task has them; TEST is never looked at.

    `own_controls` is a JSONL of `ControlItem`, judged besides the planted ones; a family that both have counts as one.
    """
    rule = use.spec.qualification
    own = read_own_controls(own_controls, use.spec)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        criteria, is_taught, kind = [c.name for c in use.spec.criteria], use.spec.declared.is_taught, use.spec.kind
        hosts = _strangers(session, use, hosts_of(prepared)) if is_taught else hosts_of(prepared)
        planted = make_control_set(hosts, seed=seed, n=n, criteria=criteria, with_unseen=is_taught, kind=kind)
        controls = [*planted, *own]
        if not controls:
            found = without_controls(use.judge_id, criteria)
        else:
            found = qualify(
                judge_of(session, use),
                controls,
                again=judge_of(session, use, repetition=1),
                rng=stream(seed, "qualify"),
                min_auc=rule.min_auc,
                on_progress=on_progress,
            )
        write_json(stage.folder / QUALIFICATIONS, found)
        stage.set_tag("judge_id", use.judge_id)
        for qualification in found:
            stage.set_tag(f"qualified.{qualification.criterion}", qualification.status)

    inputs = {"prepared": prepared.digest}
    if own_controls is not None:
        inputs["controls"] = digest_file(own_controls)
    result = session.stage(
        STAGE,
        label=f"Controls ({use.spec.name})",
        revision=QUALIFY_REVISION if use.spec.kind.is_dialogue else ANSWERS_REVISION,
        config={"judge_id": use.judge_id, "n": n, "seed": seed, "min_auc": rule.min_auc},
        inputs=inputs,
        work=work,
    )
    return read_qualifications(result.folder)


def _strangers(session: Session, use: JudgeUse, hosts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts of films that did not teach a judge."""
    judge = judge_of(session, use)
    teachers = judge.films if isinstance(judge, TaughtJudge) else frozenset()
    return [prompt for prompt in hosts if prompt.cluster not in teachers]


def read_own_controls(path: Path | None, spec: JudgeSpec) -> list[ControlItem]:
    """A user's controls; none without a file.

    Raises InputError: the file is no controls, or none of them is of a criterion that the judge scores.
    """
    if path is None:
        return []
    own, names = read_controls(path), [c.name for c in spec.criteria]
    if not any(control.criterion in names for control in own):
        found = ", ".join(sorted({control.criterion for control in own})) or "none at all"
        raise InputError(f"`{path}` must hold controls of what {spec.name} scores, {', '.join(names)}, got {found}")
    return own


def stored_qualifications(tracking: Tracking, judge_id: str) -> tuple[Qualification, ...]:
    """The newest finished qualification of a judge, by whichever command; empty where there is none."""
    newest = tracking.originals(stage=STAGE, judge_id=judge_id, limit=1)
    return read_qualifications(tracking.folder(newest[0].run_id)) if newest else ()


def qualifications_on_record(session: Session, use: JudgeUse) -> tuple[Qualification, ...]:
    """What is on record of a judge whose data hold no prompts to plant controls in."""
    found = stored_qualifications(session.tracking, use.judge_id)
    if not found:
        session.say(
            f"  {warning(use.spec.name)}: these data hold no prompts to plant controls in and none are on "
            "record; run `screentest judge qualify` on a corpus first"
        )
    return found


def hosts_of(prepared: StageResult) -> Sequence[Prompt]:
    """The prompts that controls are planted in."""
    return prompts_of(prepared, "train") + prompts_of(prepared, "validation")


def read_qualifications(folder: Path) -> tuple[Qualification, ...]:
    """What a stage of controls left."""
    return tuple(from_json(Qualification, row) for row in read_json(folder / QUALIFICATIONS))
