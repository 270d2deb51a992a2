"""Running one task: its settings and the results it needs become one stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.doors import functions
from harness.errors import InputError
from harness.experiment.design import VariantDesign
from harness.experiment.graph import PREPARED, REPLIES
from harness.experiment.judges.judge_uses import JudgeUse, judge_use, score_stage
from harness.experiment.judges.pairwise_stages import versus_stage
from harness.experiment.judges.qualifications import qualify_stage
from harness.experiment.judges.teaching import TAUGHT, with_head
from harness.experiment.kinds import BASE_FOLDER, Needed, StageKind, stage_kind
from harness.experiment.lineage import refuse_seen
from harness.experiment.measured_arms import Replies, read_replies
from harness.experiment.model_stages import generate_stage, heldout_stage
from harness.experiment.preparing import prompts_of
from harness.experiment.published import adapter_of
from harness.experiment.recordings import asked_prompts, shared_draws
from harness.experiment.reply_measures import measures_stage, own_stage
from harness.experiment.session import Session
from harness.experiment.variants import resolve_variant
from harness.experiment.workers.schedule import Ticket
from harness.judging.spec import load_judge_spec
from harness.measures.catalogue import find_measure
from harness.store.artifacts import digest_json, from_json
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Decoding, Prompt, Variant

Settings = Mapping[str, Any]  # of a stage, as JSON
NAME_LENGTH = 12  # characters of a variant's digest that name it in its rows


def run_ticket(session: Session, ticket: Ticket) -> StageResult:
    """Run a ticket's stage, or reuse it where its fingerprint stands; its run nests under the session's `parent`."""
    session.declaration = ticket.declaration
    needed = {role: session.tracking.stage_of(run_id) for role, run_id in ticket.needs.items()}
    return stage_kind(ticket.task.kind).run(session, ticket.task.settings, needed)


def variant_of(session: Session, settings: Settings, needed: Needed) -> Variant:
    """The variant that a task asks, found once a session.

    It goes by the name that it was declared under, or by what it is, so that two ablations share its rows.
    """
    known = {role: result.digest for role, result in needed.items() if role in ("prepared", "base", "adapter")}
    key = digest_json({"variant": settings["variant"], "name": settings.get("name"), "needs": known})
    return session.once(key, lambda: _resolved(session, settings, needed))


def _resolved(session: Session, settings: Settings, needed: Needed) -> Variant:
    if "adapter" in needed:
        adapter = adapter_of(session, needed["adapter"])
        declared = VariantDesign(adapter=f"{adapter.name}/{adapter.version}")
    elif "base" in needed:
        declared = VariantDesign(model=str(needed["base"].folder / BASE_FOLDER))
    else:
        declared = VariantDesign.model_validate(settings["variant"])
    name = settings.get("name")
    variant = resolve_variant(
        name or "unnamed",
        declared,
        tracking=session.tracking,
        system=read_summary(needed["prepared"].folder).system,
        shots_from=lambda: prompts_of(needed["prepared"], "train"),
        seed=settings["seed"],
        probe=session.spending.prober,
    )
    return variant if name else replace(variant, name=variant.digest[:NAME_LENGTH])


def test_prompts(session: Session, settings: Settings, prepared: StageResult) -> list[Prompt]:
    """The prompts that a task asks, read once a session."""
    asked = {key: settings[key] for key in ("n", "seed", "files", "common") if key in settings}
    return session.once(
        digest_json({"prompts": asked, "of": prepared.digest}),
        lambda: asked_prompts(prompts_of(prepared, "test"), **asked),
    )


test_prompts.__test__ = False  # type: ignore[attr-defined]


def own_names(replies: Iterable[tuple[str, StageResult]]) -> dict[str, str]:
    """Stage's digest → the name of its replies beside others, from the names that they were made under.

    Arms that differ in decoding alone ask the same variant: there, the start of the stage's digest tells them apart.
    """
    by_stage = {stage.digest: name for name, stage in replies}
    if len(set(by_stage.values())) == len(by_stage):
        return by_stage
    return {digest: f"{name}-{digest[:8]}" for digest, name in by_stage.items()}


def _asked(session: Session, settings: Settings, needed: Needed) -> tuple[Variant, list[Prompt]]:
    variant = variant_of(session, settings, needed)
    prompts = test_prompts(session, settings, needed["prepared"])
    refuse_seen(session.tracking, [variant], prepared=needed["prepared"], test=prompts)
    return variant, prompts


def _generate(session: Session, settings: Settings, needed: Needed) -> StageResult:
    variant, prompts = _asked(session, settings, needed)
    decoding = from_json(Decoding, settings["decoding"])
    return generate_stage(
        session, variant, prompts, decoding=decoding, declaration=session.declaration,
        adopt=settings.get("adopt", False),
    )  # fmt: skip


def _heldout(session: Session, settings: Settings, needed: Needed) -> StageResult:
    variant, prompts = _asked(session, settings, needed)
    return heldout_stage(session, variant, prompts)


def _replies(needed: Needed) -> dict[str, Replies]:
    """Replies by role, each variant under a name of its own."""
    read = {role: read_replies("", result) for role, result in needed.items() if role.startswith(REPLIES)}
    names = own_names((reply.generations[0].variant, reply.stage) for reply in read.values())
    return {role: reply.named(names[reply.stage.digest]) for role, reply in read.items()}


def _prompts(session: Session, settings: Settings, needed: Needed) -> list[Prompt]:
    """What all of several stages of replies were asked."""
    prepared = next(result for role, result in needed.items() if role.startswith(PREPARED))
    return test_prompts(session, settings, prepared)


def _shipped(session: Session, settings: Settings, needed: Needed) -> StageResult:
    replies = {reply.variant: reply for reply in _replies(needed).values()}
    return measures_stage(session, replies, _prompts(session, settings, needed))


def _measure(session: Session, settings: Settings, needed: Needed) -> StageResult:
    functions.look_in(Path(settings["beside"]))
    measure = find_measure(settings["name"], settings["measure"])
    if measure is None:
        raise InputError(f"measure `{settings['name']}` must be found where it is taken; it is not there")
    replies = {reply.variant: reply for reply in _replies(needed).values()}
    prompts = _prompts(session, settings, needed)
    return own_stage(session, measure, replies, prompts, encoder=settings.get("encoder"))


def _use(session: Session, settings: Settings, needed: Needed) -> JudgeUse:
    return judge_use(session, with_head(session, load_judge_spec(Path(settings["judge"])), needed.get(TAUGHT)))


def _judge(session: Session, settings: Settings, needed: Needed) -> StageResult:
    use = _use(session, settings, needed)
    replies = {reply.variant: reply for reply in _replies(needed).values()}
    return score_stage(session, use, replies=replies, prompts=_prompts(session, settings, needed))


def _versus(session: Session, settings: Settings, needed: Needed) -> StageResult:
    use = _use(session, settings, needed)
    by_role = _replies(needed)
    shared = shared_draws({reply.variant: reply for reply in by_role.values()})
    prompts = _prompts(session, settings, needed)
    return versus_stage(session, use, replies=shared, prompts=prompts, control=by_role[settings["control"]].variant)


def _qualify(session: Session, settings: Settings, needed: Needed) -> StageResult:
    use = _use(session, settings, needed)
    qualify_stage(session, use, prepared=needed["prepared"], n=settings["n"], seed=settings["seed"])
    return session.done[-1]


KINDS = (
    StageKind(name="generate", run=_generate, weight=3),
    StageKind(name="heldout", run=_heldout, weight=1),
    StageKind(name="metrics", run=_shipped, weight=1, is_on_device=False),
    StageKind(name="measure", run=_measure, weight=1, is_on_device=False),
    StageKind(name="judge", run=_judge, weight=1),
    StageKind(name="versus", run=_versus, weight=1),
    StageKind(name="qualify", run=_qualify, weight=2),
)


def base_source(base: Mapping[str, Any], needed: Needed) -> str:
    """A base's name, or the folder of the one that was trained here."""
    return str(needed["base"].folder / BASE_FOLDER) if "base" in needed else str(base["source"])
