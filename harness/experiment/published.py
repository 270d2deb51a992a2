"""Adapters that trainings published: the registry's record of what a training stage made, bound by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.doors.adapters import adapter_digest
from harness.experiment.session import NotStanding, Session
from harness.registry import CANDIDATE, model_card, open_adapter, promote, publish, standing
from harness.store.artifacts import from_json, read_json, write_json
from harness.store.tracking import Stage, StageResult
from harness.types import Adapter

PUBLISHED = "published.json"  # inside a training stage: what it made, and the registry version that held it then


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
    if session.is_dry:
        return adapter
    return promote(session.tracking, f"{adapter.name}/{adapter.version}", alias=CANDIDATE)


def adapter_of(session: Session, trained: StageResult) -> Adapter:
    """The registry's adapter of a training stage, bound by digest: published anew where the registry lost it."""
    published = read_json(trained.folder / PUBLISHED)
    name = published["adapter"].rpartition("/")[0]
    digest = adapter_digest(trained.folder / "adapter")
    found = standing(session.tracking, name, digest=digest)
    if found is not None:
        return found
    if session.is_dry:
        raise NotStanding(f"{name} would be published anew")
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
