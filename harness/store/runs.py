"""What is known of a run: a finished stage, or any run as MLflow records it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")  # what MLflow refuses in the names of parameters and tags


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """A finished stage: its run, where its files are, and whether it ran now."""

    name: str
    run_id: str  # the run that did the work; in stores of earlier versions perhaps a light one that points at it
    source_run_id: str  # the run that did the work
    reused: bool
    folder: Path  # read-only outputs
    digest: str  # over the manifest
    fingerprint: str
    seconds: float
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a reader needs to know of a run."""

    run_id: str
    name: str
    stage: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]  # the last value of each
    experiment_id: str
    artifact_uri: str


def info_of(run: Any) -> RunInfo:
    """What a reader needs to know of an MLflow run."""
    return RunInfo(
        run_id=run.info.run_id,
        name=run.info.run_name,
        stage=run.data.tags.get("stage", ""),
        status=run.info.status,
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        experiment_id=run.info.experiment_id,
        artifact_uri=run.info.artifact_uri,
    )


def run_name(label: str) -> str:
    """`Generate (sft)` as the name of a run: `generate sft`."""
    plain = NOT_IN_NAMES.sub("", label)
    return plain[:1].lower() + plain[1:]
