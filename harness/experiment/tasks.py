"""Running one task: its settings and the results it needs become one stage of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.experiment.design import VariantDesign
from harness.experiment.judges.judge_files import use_of
from harness.experiment.judges.judge_uses import score_stage
from harness.experiment.judges.qualifications import qualify_stage
from harness.experiment.kinds import BASE_FOLDER, Needed, StageKind, stage_kind
from harness.experiment.leakage import refuse_seen
from harness.experiment.measured_arms import read_replies
from harness.experiment.measuring import generate_stage, heldout_stage
from harness.experiment.plan import Task
from harness.experiment.preparing import prompts_of
from harness.experiment.prompt_draw import draw_prompts
from harness.experiment.published import adapter_of
from harness.experiment.session import Session
from harness.experiment.variants import resolve_variant
from harness.judging.spec import load_judge_spec
from harness.models.bases import resolve_base
from harness.store.artifacts import from_json
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import BaseModel, Decoding, Prompt, Variant

Settings = Mapping[str, Any]  # of a stage, as JSON
NAME_LENGTH = 12  # characters of a variant's digest that name it in its rows


def run_task(session: Session, task: Task, needed: Needed, *, declaration: str = "") -> StageResult:
    """Run a task's stage, or reuse it where its fingerprint stands.

    Args:
        session: whose `parent` the stage's run nests under.
        task: what to run.
        needed: the finished stages that it needs, by role.
        declaration: digests of the declarations that stand while it runs; tagged on generations.
    """
    session.declaration = declaration
    return stage_kind(task.kind).run(session, task.settings, needed)


def variant_of(session: Session, settings: Settings, needed: Needed) -> Variant:
    """The variant that a `generate` or `heldout` task asks, named by what it is: two ablations then share its rows."""
    base = settings["base"]
    if "adapter" in needed:
        adapter = adapter_of(session, needed["adapter"])
        declared = VariantDesign(adapter=f"{adapter.name}/{adapter.version}")
    else:
        declared = VariantDesign(model=base_source(base, needed), revision=base["revision"])
    variant = resolve_variant(
        "unnamed",
        declared,
        tracking=session.tracking,
        system=read_summary(needed["prepared"].folder).system,
        shots_from=lambda: prompts_of(needed["prepared"], "train"),
        seed=settings["seed"],
    )
    return replace(variant, name=variant.digest[:NAME_LENGTH])


def test_prompts(settings: Mapping[str, Any], prepared: StageResult) -> list[Prompt]:
    """The prompts that a task asks."""
    return draw_prompts(prompts_of(prepared, "test"), n=settings["n"], seed=settings["seed"])


test_prompts.__test__ = False  # type: ignore[attr-defined]


def _generate(session: Session, settings: Settings, needed: Needed) -> StageResult:
    variant = variant_of(session, settings, needed)
    prompts = test_prompts(settings, needed["prepared"])
    refuse_seen(session.tracking, [variant], prepared=needed["prepared"], test=prompts)
    decoding = from_json(Decoding, settings["decoding"])
    return generate_stage(session, variant, prompts, decoding=decoding, declaration=session.declaration)


def _heldout(session: Session, settings: Settings, needed: Needed) -> StageResult:
    variant = variant_of(session, settings, needed)
    prompts = test_prompts(settings, needed["prepared"])
    refuse_seen(session.tracking, [variant], prepared=needed["prepared"], test=prompts)
    return heldout_stage(session, variant, prompts)


def _judge(session: Session, settings: Settings, needed: Needed) -> StageResult:
    use = use_of(session, load_judge_spec(Path(settings["judge"])))
    replies = read_replies("", needed["replies"])
    name = replies.generations[0].variant
    prompts = test_prompts(settings, needed["prepared"])
    return score_stage(session, use, replies={name: replace(replies, variant=name)}, prompts=prompts)


def _qualify(session: Session, settings: Settings, needed: Needed) -> StageResult:
    use = use_of(session, load_judge_spec(Path(settings["judge"])))
    qualify_stage(session, use, prepared=needed["prepared"], n=settings["n"], seed=settings["seed"])
    return session.done[-1]


KINDS = (
    StageKind(name="generate", run=_generate, weight=3),
    StageKind(name="heldout", run=_heldout, weight=1),
    StageKind(name="judge", run=_judge, weight=1),
    StageKind(name="qualify", run=_qualify, weight=2),
)


def base_source(base: Mapping[str, Any], needed: Needed) -> str:
    """A base's name, or the folder of the one that was trained here."""
    return str(needed["base"].folder / BASE_FOLDER) if "base" in needed else str(base["source"])


def require_bases(sources: Mapping[str, str | None]) -> list[BaseModel]:
    """Resolve bases by name, so that one that is not there is refused before anything is trained."""
    return [resolve_base(source, revision=revision) for source, revision in sources.items()]
