"""From an adapter back to the training behind it: its stage, its settings, what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SplitError
from harness.registry import records
from harness.store.artifacts import read_json
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult, Tracking
from harness.types import Adapter, Prompt, Variant

REFERENCE = "reference"  # who preferred, where people's own replies stand against samples of a model
OTHER = "other reply"  # the same, where people's replies to prompts of other films were rejected
_STAGE_FILE = "stage.json"  # what `Tracking.stage` records of configuration and inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A finished training stage, found from the adapter that it published."""

    stage: str  # the training method
    folder: Path
    record: Mapping[str, Any]  # training.json
    settings: Mapping[str, Any]  # the recipe, as it entered the fingerprint
    inputs: Mapping[str, str]  # digests, by what they are

    @property
    def is_preference(self) -> bool:
        """Whether pairs were trained on."""
        return "pairs" in self.inputs

    @property
    def adapter_folder(self) -> Path:
        """The trained adapter."""
        return self.folder / "adapter"


def training_of(tracking: Tracking, adapter: Adapter) -> Training | None:
    """The training behind an adapter of the registry; None for one that was made elsewhere."""
    if adapter.version is None:
        return None
    for record in records(tracking, name=adapter.name):
        if record.version != adapter.version or record.run_id is None:
            continue
        info = tracking.source_of(tracking.run(record.run_id))
        folder = tracking.folder(info.run_id)
        if (folder / "training.json").is_file() and (folder / _STAGE_FILE).is_file():
            recorded = read_json(folder / _STAGE_FILE)
            return Training(
                stage=info.stage,
                folder=folder,
                record=read_json(folder / "training.json"),
                settings=recorded["config"],
                inputs=recorded["inputs"],
            )
    return None


def pairs_behind(tracking: Tracking, training: Training) -> Path | None:
    """The folder of the pairs that a preference training used; None where it used none, or it is gone."""
    digest = training.inputs.get("pairs")
    if digest is None:
        return None
    for info in tracking.find(stage="pairs", output_digest=digest, limit=1):
        return tracking.folder(info.run_id)
    return None


def windows_behind(tracking: Tracking, training: Training) -> Path | None:
    """The prepared folder that a training used; None where it is gone."""
    for info in tracking.find(stage="prepare", output_digest=training.inputs.get("prepared", ""), limit=1):
        return tracking.folder(info.run_id)
    return None


def refuse_seen(
    tracking: Tracking, variants: Iterable[Variant], *, prepared: StageResult, test: Iterable[Prompt]
) -> None:
    """Refuse TEST prompts of films that a variant's adapter was trained or validated on.

    Known of adapters that were trained here: their data digest leads to the prepared corpus behind them. Two splits of
    one corpus with different seeds are how it happens.

    Raises SplitError: an adapter has seen a film of `test`.
    """
    asked = {prompt.cluster for prompt in test}
    summary = read_summary(prepared.folder)
    corpus, noun = summary.corpus_digest, summary.cluster_unit
    for variant in variants:
        digest = variant.adapter.data_digest if variant.adapter is not None else None
        if variant.adapter is None or digest is None or digest == prepared.digest:
            continue
        for run in tracking.find(stage="prepare", output_digest=digest, limit=1):
            folder = tracking.folder(run.run_id)
            if read_summary(folder).corpus_digest != corpus:
                continue  # another corpus, whose films only happen to bear the same ids
            seen = {row["id"] for row in read_json(folder / "clusters.json") if row["split"] != "test"} & asked
            if seen:
                raise SplitError(
                    f"`{variant.name}`: adapter {variant.adapter.name}/{variant.adapter.version} was trained on "
                    f"{len(seen)} of the {len(asked)} TEST {noun}s; split with the seed it was trained with "
                    "(`data.seed`)"
                )
