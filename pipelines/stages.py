"""The stages of data and training as MLflow runs: which configuration and which inputs decide each result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from harness.ablation.design import DataDesign
from harness.artifacts import digest_json, from_json, read_json, write_json
from harness.doors.adapters import adapter_digest
from harness.errors import InputError
from harness.models.bases import adaptation_of, asked_digest, resolve_base
from harness.registry import CANDIDATE, model_card, open_adapter, promote, publish, standing
from harness.tracking import Stage, StageResult
from harness.types import Adapter, BaseModel, Prompt, Split
from pipelines.prepare import PrepareConfig
from pipelines.session import OnProgress, Session
from pipelines.training.crew import order
from pipelines.training.recipe import SftRecipe
from pipelines.variants import TokenizerSource

PUBLISHED = "published.json"  # inside a training stage: what it made, and the registry version that held it then


def prepare_config(data: DataDesign, *, base: TokenizerSource, limit: int | None) -> PrepareConfig:
    """How an experiment's data are prepared: a corpus is split, a file is TEST as a whole."""
    return PrepareConfig(
        corpus=data.file or data.corpus or "sample",
        whole_split="test" if data.file is not None else None,
        base=base.base,
        base_revision=base.revision,
        max_tokens=data.max_tokens,
        seed=data.seed,
        limit=limit,
    )


def prepare_stage(session: Session, config: PrepareConfig, *, adopt: bool = False) -> StageResult:
    """Corpus → splits, prompts and windows. Decided by the corpus's content, not by where it lies."""
    from pipelines import prepare
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


def prompts_of(prepared: StageResult, split: Split) -> list[Prompt]:
    """The prompts of one split of a prepared corpus."""
    from pipelines.windows import read_prompts

    return read_prompts(prepared.folder, split)


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


def publish_trained(
    session: Session,
    stage: Stage,
    adapter: Adapter,
    *,
    name: str,
    facts: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    """Register what a stage trained, with its card, and leave on record what `adapter_of` binds to."""
    card = model_card(adapter, name=name, facts=facts, metrics=metrics)
    published = publish(session.tracking, adapter, name=name, run_id=stage.run_id, card=card, metrics=metrics)
    version = f"{published.name}/{published.version}"
    stage.set_tag("adapter", version)
    for key, value in metrics.items():
        stage.log_metric(f"final_{key}", value)
    made = {"adapter": replace(adapter, name=name, path=""), "card": card, "metrics": metrics}
    write_json(stage.folder / PUBLISHED, {"adapter": version, "made": made})


def published_adapter(session: Session, trained: StageResult) -> Adapter:
    """The registry's adapter of a training that was asked for, new or reused: `<name>@candidate` from here on."""
    adapter = adapter_of(session, trained)
    return promote(session.tracking, f"{adapter.name}/{adapter.version}", alias=CANDIDATE)


def adapter_of(session: Session, trained: StageResult) -> Adapter:
    """The registry's adapter of a training stage, bound by digest: published anew where the registry lost it."""
    published = read_json(trained.folder / PUBLISHED)
    name = published["adapter"].rpartition("/")[0]
    digest = adapter_digest(trained.folder / "adapter")
    found = standing(session.tracking, name, digest=digest)
    if found is not None:
        return found
    session.say(f"  {name} is published anew: the registry holds this training's adapter no more")
    adapter, card, metrics = _as_made(trained, published, name)
    return publish(session.tracking, adapter, name=name, run_id=trained.source_run_id, card=card, metrics=metrics)


def _as_made(trained: StageResult, published: Mapping[str, Any], name: str) -> tuple[Adapter, str, dict[str, float]]:
    """What a training published; of one from before that was written down, what its folder tells."""
    folder = trained.folder / "adapter"
    if made := published.get("made"):
        return replace(from_json(Adapter, made["adapter"]), path=str(folder)), made["card"], made["metrics"]
    adapter = replace(open_adapter(folder), data_digest=trained.inputs.get("prepared"))
    return adapter, model_card(adapter, name=name, facts={}, metrics={}), {}


def training_record(folder: Path) -> dict[str, Any]:
    """What a training left to be read: its `training.json`."""
    return dict(read_json(folder / "training.json"))


def _require_same_tokenizer(base: BaseModel, prepared: StageResult) -> None:
    if prepared.inputs.get("tokenizer") != asked_digest(base):
        raise InputError(
            f"`{base.source}` must be the base whose tokenizer cut the windows; "
            "run `screentest prepare` with the base of the recipe"
        )
