"""The stages of data and training as MLflow runs: which configuration and which inputs decide each result."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from harness.config import StrictConfig
from harness.errors import InputError
from harness.experiment.kinds import Needed, StageKind
from harness.experiment.published import adapter_of, publish_trained, published_adapter
from harness.experiment.session import OnProgress, Session
from harness.experiment.tasks import base_source
from harness.models.bases import adaptation_of, asked_digest, resolve_base
from harness.registry import open_adapter
from harness.reporting.record import AuditRow
from harness.store.artifacts import digest_json, read_json
from harness.store.tracking import Stage, StageResult, Tracking
from harness.types import BaseModel, PreferencePair, Variant
from pipelines.corpus.prepare import PrepareConfig
from pipelines.training.crew import order
from pipelines.training.recipe import SftRecipe


def prepare_stage(session: Session, config: PrepareConfig, *, adopt: bool = False) -> StageResult:
    """Corpus → splits, prompts and windows. Decided by the corpus's content, not by where it lies."""
    from pipelines.corpus import prepare
    from pipelines.corpus.reading import read_corpus

    corpus = read_corpus(config.corpus, lenient=config.lenient)
    base = resolve_base(config.base, revision=config.base_revision)
    settings = config.model_dump(mode="json", exclude={"corpus", "base", "base_revision"})
    for note in adaptation_of(base).notes:
        session.say(f"  {escape(note)}")

    def work(stage: Stage, on_progress: OnProgress) -> None:
        summary = prepare.run(config, folder=stage.folder, on_progress=on_progress, corpus=corpus)
        stage.set_tag("corpus", summary.corpus)
        for name, counts in {"repaired": summary.repaired, "skipped": summary.skipped, "seen": summary.seen}.items():
            stage.log_params({f"{name}.{key}": value for key, value in counts.items()})
        for split, held in summary.splits.items():
            stage.log_metric(f"{split}_windows", held.windows.n_prompts)
            stage.log_metric(f"{split}_clusters", held.n_clusters)

    return session.stage(
        "prepare",
        label="Prepare",
        revision=prepare.REVISION,
        config=settings,
        inputs={"corpus": corpus.digest, "tokenizer": asked_digest(base)},
        work=work,
        adopt=adopt,
    )


def sft_stage(session: Session, recipe: SftRecipe, prepared: StageResult, *, adopt: bool = False) -> StageResult:
    """Windows + recipe → adapter, published in the registry under the recipe's name."""
    from pipelines import sft

    base = resolve_base(recipe.base.source, revision=recipe.base.revision)
    _require_same_tokenizer(base, prepared)
    settings = recipe.model_dump(mode="json", exclude={"base"})

    def work(stage: Stage, on_progress: OnProgress) -> None:
        order("sft", recipe=recipe.model_dump(mode="json"), prepared=str(prepared.folder), folder=str(stage.folder))
        summary = sft.run(
            recipe,
            prepared=prepared.folder,
            folder=stage.folder,
            on_progress=on_progress,
            on_metric=stage.log_metric,
        )
        adapter = replace(
            open_adapter(stage.folder / "adapter", base=base),
            recipe_digest=digest_json({"recipe": settings, "base": base.digest}),
            data_digest=prepared.digest,
        )
        metrics = {
            "validation_loss": summary.validation_loss,
            "validation_bits_per_byte": summary.validation_bits_per_byte,
        }
        facts = {
            "Method": f"SFT, {'QLoRA (NF4)' if recipe.quantization == 'nf4' else 'LoRA'}, rank {recipe.lora.rank}"
            + (f", NEFTune {recipe.neftune_alpha:g}" if recipe.neftune_alpha else ""),
            "Tokens seen": f"{summary.n_tokens:,}",
            "Steps": f"{summary.n_steps:,}",
            "Seed": str(recipe.seed),
        }
        stage.set_tag("processes", f"{summary.n_processes} {summary.sharding}")
        publish_trained(session, stage, adapter, name=recipe.name, facts=facts, metrics=metrics)

    return session.stage(
        "sft",
        label="Fine-tune",
        revision=sft.REVISION,
        config=settings,
        inputs={"prepared": prepared.digest, "base": base.digest},
        work=work,
        adopt=adopt,
    )


def training_record(folder: Path) -> dict[str, Any]:
    """What a training left to be read: its `training.json`."""
    return dict(read_json(folder / "training.json"))


def _require_same_tokenizer(base: BaseModel, prepared: StageResult) -> None:
    if prepared.inputs.get("tokenizer") != asked_digest(base):
        raise InputError(
            f"`{base.source}` must be the base whose tokenizer cut the windows; "
            "run `screentest prepare` with the base of the recipe"
        )


def _prepare(session: Session, settings: Mapping[str, Any], needed: Needed) -> StageResult:
    base = settings["base"]
    rest = {key: value for key, value in settings.items() if key != "base"}
    config = PrepareConfig(base=base_source(base, needed), base_revision=base["revision"], **rest)
    return prepare_stage(session, config)


def _pretrain(session: Session, settings: Mapping[str, Any], needed: Needed) -> StageResult:
    from pipelines import pretrain
    from pipelines.training.pretrain_recipe import PretrainRecipe

    recipe = PretrainRecipe.model_validate(dict(settings))

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


def _sft(session: Session, settings: Mapping[str, Any], needed: Needed) -> StageResult:
    recipe = SftRecipe.model_validate({**settings, "base": _base_settings(settings["base"], needed)})
    trained = sft_stage(session, recipe, needed["prepared"])
    published_adapter(session, trained)
    return trained


def _pairs(session: Session, settings: Mapping[str, Any], needed: Needed) -> StageResult:
    from pipelines.preferences.build import PairsConfig
    from pipelines.preferences.stages import pairs_stage

    config = PairsConfig.model_validate(dict(settings))
    parent = adapter_of(session, needed["parent"])
    return pairs_stage(session, config, prepared=needed["prepared"], parent=parent)


def _preference(
    session: Session, settings: Mapping[str, Any], needed: Needed, *, is_control: bool = False
) -> StageResult:
    from pipelines.preferences.stages import chosen_sft_stage, dpo_stage
    from pipelines.training.dpo_recipe import DpoRecipe

    parent = adapter_of(session, needed["parent"])
    named = {"base": _base_settings(settings["base"], needed), "parent": f"{parent.name}/{parent.version}"}
    recipe = DpoRecipe.model_validate({**settings, **named})
    train = chosen_sft_stage if is_control else dpo_stage
    trained = train(session, recipe, prepared=needed["prepared"], parent=parent, pairs=needed["pairs"])
    published_adapter(session, trained)
    return trained


def _base_settings(base: Mapping[str, Any], needed: Needed) -> dict[str, Any]:
    return {"source": base_source(base, needed), "revision": None if "base" in needed else base["revision"]}


def _pairs_config() -> type[StrictConfig]:
    from pipelines.preferences.build import PairsConfig

    return PairsConfig


def _dpo_recipe() -> type[StrictConfig]:
    from pipelines.training.dpo_recipe import DpoRecipe

    return DpoRecipe


def _pretrain_recipe() -> type[StrictConfig]:
    from pipelines.training.pretrain_recipe import PretrainRecipe

    return PretrainRecipe


KINDS = (
    StageKind(name="prepare", run=_prepare, weight=1, is_on_device=False),
    StageKind(
        name="pretrain", run=_pretrain, weight=12, recipe=_pretrain_recipe, is_training=True,
        record="pretraining.json", words="Pretraining",
    ),
    StageKind(
        name="sft", run=_sft, weight=8, recipe=lambda: SftRecipe, is_training=True, record="training.json", words="SFT"
    ),
    StageKind(name="pairs", run=_pairs, weight=5, recipe=_pairs_config, is_training=True),
    StageKind(
        name="dpo", run=_preference, weight=6, recipe=_dpo_recipe, is_training=True, record="training.json",
        words="DPO",
    ),
    StageKind(
        name="chosen_sft", run=functools.partial(_preference, is_control=True), weight=4, recipe=_dpo_recipe,
        is_training=True, record="training.json", words="SFT on chosen replies",
    ),
)  # fmt: skip


def training_audit(tracking: Tracking, variants: Iterable[Variant], *, prepared: StageResult) -> tuple[AuditRow, ...]:
    """Whether trainings differ in what they should differ in, and in nothing else."""
    from pipelines import audit

    return audit.training_audit(tracking, variants, prepared=prepared)


def pairs_of_file(file: Path) -> Sequence[PreferencePair]:
    """The preference pairs in a file of a known form."""
    from pipelines.preferences.files import import_file

    return import_file(file).pairs
