"""The stages of data and training as MLflow runs: which configuration and which inputs decide each result."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.experiment.kinds import Needed, StageKind
from harness.experiment.planning.pace import READINGS_WITH_REFERENCE, Effort
from harness.experiment.published import adapter_of, published_adapter
from harness.experiment.published import publish_trained as publish_trained  # where scripts look for it
from harness.experiment.session import OnProgress, Session
from harness.experiment.tasks import base_source
from harness.judging.spec import load_judge_spec
from harness.store.artifacts import read_json
from harness.store.prepared import SplitSummary
from harness.store.tracking import Stage, StageResult
from harness.types import PreferencePair
from pipelines import pretrain
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.corpus.reading import look_at as look_at  # the engine asks for it here
from pipelines.preferences.pair_builder import PairsConfig
from pipelines.preferences.pair_files import import_file
from pipelines.preferences.pair_stages import pairs_stage
from pipelines.training.methods import METHODS, Method
from pipelines.training.recipe import PretrainRecipe
from pipelines.training.training_audit import training_audit as training_audit  # the engine asks for it here
from pipelines.training.training_stage import training_stage

Settings = Mapping[str, Any]


def windows_effort(settings: Settings, needs: Mapping[str, Settings], train: SplitSummary) -> Effort:
    """Of a training on windows: its budget of tokens, or so many times all of TRAIN."""
    data = settings["data"]
    return Effort(n_trained=data["train_tokens"] or data["epochs"] * train.windows.n_tokens)


def pairs_effort(settings: Settings, needs: Mapping[str, Settings], train: SplitSummary) -> Effort:
    """Of candidates for pairs: as if every wanted pair took one prompt."""
    n = min(settings["n_pairs"], train.windows.n_prompts) * settings["n_candidates"]
    return Effort(n_replies=n, n_generated=n * settings["max_new_tokens"])


def preference_effort(settings: Settings, needs: Mapping[str, Settings], train: SplitSummary) -> Effort:
    """Of a training on pairs: each is two windows of mean length, read by the reference too."""
    data, windows = settings["data"], train.windows
    made = needs.get("pairs", {}).get("n_pairs", windows.n_prompts)
    n = min(data["n_pairs"] or made, made, windows.n_prompts)
    mean = windows.n_tokens / max(1, windows.n_examples)
    return Effort(n_trained=round(2 * n * mean) * data["epochs"], readings=READINGS_WITH_REFERENCE)


def training_record(folder: Path) -> dict[str, Any]:
    """What a training left to be read: its `training.json`."""
    return dict(read_json(folder / "training.json"))


def _prepare(session: Session, settings: Settings, needed: Needed) -> StageResult:
    base, revision = base_source(settings["base"], needed), settings["base"]["revision"]
    return prepare_stage(session, PrepareConfig(**{**settings, "base": base, "base_revision": revision}))


def _pretrain(session: Session, settings: Settings, needed: Needed) -> StageResult:
    recipe = PretrainRecipe.model_validate(dict(settings))

    def work(stage: Stage, on_progress: OnProgress) -> None:
        with stage.system_metrics():
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


def _pairs(session: Session, settings: Settings, needed: Needed) -> StageResult:
    config = PairsConfig.model_validate(dict(settings))
    parent = adapter_of(session, needed["parent"])
    return pairs_stage(session, config, prepared=needed["prepared"], parent=parent)


def _teach(session: Session, settings: Settings, needed: Needed) -> StageResult:
    from pipelines.teaching.stage import teach_stage

    spec = load_judge_spec(Path(settings["judge"]))
    return teach_stage(session, spec, prepared=needed["prepared"], seed=settings["seed"])


def _train(name: str, session: Session, settings: Settings, needed: Needed) -> StageResult:
    parent = adapter_of(session, needed["parent"]) if "parent" in needed else None
    revision = None if "base" in needed else settings["base"]["revision"]
    named: dict[str, Any] = {"base": {"source": base_source(settings["base"], needed), "revision": revision}}
    if parent is not None:
        named |= {"parent": f"{parent.name}/{parent.version}"}
    recipe = METHODS[name].runner.RECIPE.model_validate({**settings, **named})
    prepared, pairs = needed["prepared"], needed.get("pairs")
    trained = training_stage(session, name, recipe, prepared=prepared, parent=parent, pairs=pairs)
    published_adapter(session, trained)
    return trained


def _kind_of(name: str, method: Method) -> StageKind:
    return StageKind(
        name=name,
        run=functools.partial(_train, name),
        weight=method.weight,
        recipe=lambda: method.runner.RECIPE,
        is_training=True,
        record="training.json",
        words=method.title,
        section=method.recipes,
        follows=method.after,
        reads_pairs=method.reads == "pairs",
        loss=method.loss,
        effort=windows_effort if method.reads == "windows" else preference_effort,
    )


KINDS = (
    StageKind(name="prepare", run=_prepare, weight=1, is_on_device=False),
    StageKind(
        name="pretrain", run=_pretrain, weight=12, recipe=lambda: PretrainRecipe, is_training=True,
        record="pretraining.json", words="Pretraining",
    ),
    StageKind(name="teach", run=_teach, weight=2, words="Teaching a judge"),
    StageKind(name="pairs", run=_pairs, weight=5, recipe=lambda: PairsConfig, is_training=True, effort=pairs_effort),
    *(_kind_of(name, method) for name, method in METHODS.items()),
)  # fmt: skip


def pairs_of_file(file: Path) -> Sequence[PreferencePair]:
    """The preference pairs in a file of a known form."""
    return import_file(file).pairs
