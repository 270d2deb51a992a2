"""The stage that trains and publishes an adapter as an MLflow run, whatever the method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.errors import InputError
from harness.experiment.published import publish_trained
from harness.experiment.session import OnProgress, Session
from harness.models.bases import asked_digest, load_tokenizer, resolve_base
from harness.models.contracts import contract_of
from harness.registry import open_adapter
from harness.store.artifacts import digest_json, to_json
from harness.store.prepared import read_summary
from harness.store.tracking import Stage, StageResult
from harness.types import Adapter, BaseModel
from pipelines.training.followers import order
from pipelines.training.methods import METHODS
from pipelines.training.modeling import require_same_base


def training_stage(
    session: Session,
    name: str,
    recipe: Any,
    *,
    prepared: StageResult,
    parent: Adapter | None = None,
    pairs: StageResult | None = None,
    adopt: bool = False,
) -> StageResult:
    """Train by one of `METHODS` and publish the adapter under the recipe's name.

    Args:
        prepared: the prepared corpus, whose windows a method that reads windows trains on.
        parent: the adapter that a method that reads pairs goes on from.
        adopt: as in `Session.stage`.

    Raises:
        InputError: the base is not that of the windows, or of the parent.
    """
    method = METHODS[name]
    runner = method.runner
    if method.is_control:
        recipe = recipe.as_control()
    base = resolve_base(recipe.base.source, revision=recipe.base.revision)
    settings = recipe.model_dump(mode="json", exclude={"base", "parent"})
    inputs = {"prepared": prepared.digest, "base": asked_digest(base)}
    windows = read_summary(prepared.folder)
    folders = {"prepared": prepared.folder}
    if parent is None or pairs is None:
        _require_same_tokenizer(base, prepared)
    else:
        require_same_base(parent, base)
        inputs |= {"pairs": pairs.digest, "parent": parent.digest}
        folders |= {"pairs": pairs.folder}

    def work(stage: Stage, on_progress: OnProgress) -> None:
        if parent is not None:
            session.pool.clear()  # a training needs the memory of the models that were loaded to generate
        asked = {**folders, "folder": stage.folder}
        start = {} if parent is None else {"parent": parent}
        told = {key: str(folder) for key, folder in asked.items()}
        order("train", method=name, recipe=recipe.model_dump(mode="json"), folders=told, start=to_json(start))
        with stage.system_metrics():
            summary = runner.run(recipe, **asked, **start, on_progress=on_progress, on_metric=stage.log_metric)
        adapter = replace(
            open_adapter(stage.folder / "adapter", base=base),
            recipe_digest=digest_json({"recipe": settings, "base": base.digest}),
            data_digest=prepared.digest,
            parent=None if parent is None else parent.digest,
            contract=contract_of(
                load_tokenizer(base),
                system=windows.system,
                max_tokens=windows.max_tokens,
                quantization=recipe.quantization,
            ),
        )
        facts = {"Method": runner.describe(recipe), **_named(parent), **runner.seen(summary)}
        facts |= {"Steps": f"{summary.n_steps:,}", "Seed": str(recipe.seed)}
        stage.set_tag("processes", f"{summary.n_processes} {summary.sharding}")
        publish_trained(session, stage, adapter, name=recipe.name, facts=facts, metrics=runner.metrics(summary))

    label = f"{method.label} ({recipe.name})"
    return session.stage(
        name, label=label, revision=runner.REVISION, config=settings, inputs=inputs, work=work, adopt=adopt
    )


def _named(parent: Adapter | None) -> dict[str, str]:
    if parent is None:
        return {}
    return {"Parent": f"{parent.name}/{parent.version}" if parent.version else parent.name}


def _require_same_tokenizer(base: BaseModel, prepared: StageResult) -> None:
    if prepared.inputs.get("tokenizer") != asked_digest(base):
        raise InputError(
            f"`{base.source}` must be the base whose tokenizer cut the windows; "
            "run `screentest prepare` with the base of the recipe"
        )
