"""Running one task: its settings and the results it needs become one stage of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.ablation.design import VariantDesign
from harness.artifacts import from_json
from harness.judging.spec import load_judge_spec
from harness.models.bases import resolve_base
from harness.tracking import Stage, StageResult
from harness.types import BaseModel, Decoding, Prompt, Variant
from pipelines.ablate.plan import Task, TaskKind
from pipelines.drawing import draw_prompts
from pipelines.judges.measures import score_stage
from pipelines.judges.qualifications import qualify_stage
from pipelines.judges.run import use_of
from pipelines.measuring import generate_stage, heldout_stage
from pipelines.prepare import PrepareConfig, read_summary
from pipelines.rows import read_replies
from pipelines.seen import refuse_seen
from pipelines.session import OnProgress, Session
from pipelines.stages import adapter_of, prepare_stage, prompts_of, published_adapter, sft_stage
from pipelines.training.dpo_recipe import DpoRecipe
from pipelines.training.pretrain_recipe import PretrainRecipe
from pipelines.training.recipe import SftRecipe
from pipelines.variants import resolve_variant

Needed = Mapping[str, StageResult]
NAME_LENGTH = 12  # characters of a variant's digest that name it in its rows


def run_task(session: Session, task: Task, needed: Needed, *, declaration: str = "") -> StageResult:
    """Run a task's stage, or reuse it where its fingerprint stands.

    Args:
        session: whose `parent` the stage's run nests under.
        task: what to run.
        needed: the finished stages that it needs, by role.
        declaration: digests of the declarations that stand while it runs; tagged on generations.
    """
    if task.kind == "generate":
        return _generate(session, task, needed, declaration=declaration)
    return _RUN[task.kind](session, task, needed)


def variant_of(session: Session, task: Task, needed: Needed) -> Variant:
    """The variant that a `generate` or `heldout` task asks, named by what it is: two ablations then share its rows."""
    base = task.settings["base"]
    if "adapter" in needed:
        adapter = adapter_of(session, needed["adapter"])
        declared = VariantDesign(adapter=f"{adapter.name}/{adapter.version}")
    else:
        declared = VariantDesign(model=_base_source(base, needed), revision=base["revision"])
    variant = resolve_variant(
        "unnamed",
        declared,
        tracking=session.tracking,
        system=read_summary(needed["prepared"].folder).system,
        shots_from=lambda: prompts_of(needed["prepared"], "train"),
        seed=task.settings["seed"],
    )
    return replace(variant, name=variant.digest[:NAME_LENGTH])


def test_prompts(settings: Mapping[str, Any], prepared: StageResult) -> list[Prompt]:
    """The prompts that a task asks."""
    return draw_prompts(prompts_of(prepared, "test"), n=settings["n"], seed=settings["seed"])


test_prompts.__test__ = False  # type: ignore[attr-defined]


def _prepare(session: Session, task: Task, needed: Needed) -> StageResult:
    settings = dict(task.settings)
    base = settings.pop("base")
    config = PrepareConfig(base=_base_source(base, needed), base_revision=base["revision"], **settings)
    return prepare_stage(session, config)


def _pretrain(session: Session, task: Task, needed: Needed) -> StageResult:
    from pipelines import pretrain

    recipe = PretrainRecipe.model_validate(dict(task.settings))

    def work(stage: Stage, on_progress: OnProgress) -> None:
        summary = pretrain.run(
            recipe,
            prepared=needed["prepared"].folder,
            folder=stage.folder,
            on_progress=on_progress,
            on_metric=stage.log_metric,
        )
        stage.log_metric("final_validation_loss", summary.validation_loss)
        stage.log_metric("parameters", summary.n_parameters)

    return session.stage(
        "pretrain",
        label=f"Pretrain ({recipe.name})",
        revision=pretrain.REVISION,
        config=recipe.model_dump(mode="json"),
        inputs={"prepared": needed["prepared"].digest},
        work=work,
    )


def _sft(session: Session, task: Task, needed: Needed) -> StageResult:
    recipe = SftRecipe.model_validate({**task.settings, "base": _base_settings(task.settings["base"], needed)})
    trained = sft_stage(session, recipe, needed["prepared"])
    published_adapter(session, trained)
    return trained


def _pairs(session: Session, task: Task, needed: Needed) -> StageResult:
    from pipelines.preferences.build import PairsConfig
    from pipelines.preferences.stages import pairs_stage

    config = PairsConfig.model_validate(dict(task.settings))
    parent = adapter_of(session, needed["parent"])
    return pairs_stage(session, config, prepared=needed["prepared"], parent=parent)


def _preference(session: Session, task: Task, needed: Needed) -> StageResult:
    from pipelines.preferences.stages import chosen_sft_stage, dpo_stage

    parent = adapter_of(session, needed["parent"])
    base = _base_settings(task.settings["base"], needed)
    named = {"base": base, "parent": f"{parent.name}/{parent.version}"}
    recipe = DpoRecipe.model_validate({**task.settings, **named})
    train = dpo_stage if task.kind == "dpo" else chosen_sft_stage
    trained = train(session, recipe, prepared=needed["prepared"], parent=parent, pairs=needed["pairs"])
    published_adapter(session, trained)
    return trained


def _generate(session: Session, task: Task, needed: Needed, *, declaration: str) -> StageResult:
    variant = variant_of(session, task, needed)
    prompts = test_prompts(task.settings, needed["prepared"])
    refuse_seen(session.tracking, [variant], prepared=needed["prepared"], test=prompts)
    decoding = from_json(Decoding, task.settings["decoding"])
    return generate_stage(session, variant, prompts, decoding=decoding, declaration=declaration)


def _heldout(session: Session, task: Task, needed: Needed) -> StageResult:
    variant = variant_of(session, task, needed)
    prompts = test_prompts(task.settings, needed["prepared"])
    refuse_seen(session.tracking, [variant], prepared=needed["prepared"], test=prompts)
    return heldout_stage(session, variant, prompts)


def _judge(session: Session, task: Task, needed: Needed) -> StageResult:
    use = use_of(session, load_judge_spec(Path(task.settings["judge"])))
    replies = read_replies("", needed["replies"])
    name = replies.generations[0].variant
    prompts = test_prompts(task.settings, needed["prepared"])
    return score_stage(session, use, replies={name: replace(replies, variant=name)}, prompts=prompts)


def _qualify(session: Session, task: Task, needed: Needed) -> StageResult:
    use = use_of(session, load_judge_spec(Path(task.settings["judge"])))
    qualify_stage(session, use, prepared=needed["prepared"], n=task.settings["n"], seed=task.settings["seed"])
    return session.done[-1]


_RUN: Mapping[TaskKind, Callable[[Session, Task, Needed], StageResult]] = {
    "prepare": _prepare,
    "pretrain": _pretrain,
    "sft": _sft,
    "pairs": _pairs,
    "dpo": _preference,
    "chosen_sft": _preference,
    "heldout": _heldout,
    "judge": _judge,
    "qualify": _qualify,
}


def _base_source(base: Mapping[str, Any], needed: Needed) -> str:
    """A base's name, or the folder of the one that was trained here."""
    if "base" in needed:
        from pipelines.pretrain import MODEL

        return str(needed["base"].folder / MODEL)
    return str(base["source"])


def _base_settings(base: Mapping[str, Any], needed: Needed) -> dict[str, Any]:
    return {"source": _base_source(base, needed), "revision": None if "base" in needed else base["revision"]}


def require_bases(sources: Mapping[str, str | None]) -> list[BaseModel]:
    """Resolve bases by name, so that one that is not there is refused before anything is trained."""
    return [resolve_base(source, revision=revision) for source, revision in sources.items()]
