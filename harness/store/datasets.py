"""Inputs of a stage as MLflow datasets: what its pages list under *Datasets used*."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NOT_DATA = ("variant", "tokenizer", "base", "parent")  # models: they have pages of their own
_LONGEST_DIGEST = 36  # of MLflow's column
_CONTEXTS = {"prepared": "training", "pairs": "training", "corpus": "training"}


def log_datasets(client: Any, run_id: str, inputs: Mapping[str, str], *, sources: Mapping[str, str]) -> None:
    """Record the data that a stage reads, by name and digest; `sources` has the run that made them, by digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = [
        DatasetInput(
            dataset=Dataset(
                name=name,
                digest=digest[:_LONGEST_DIGEST],
                source_type="run" if digest in sources else "digest",
                source=json.dumps({"uri": f"runs:/{sources[digest]}"} if digest in sources else {"digest": digest}),
            ),
            tags=[InputTag(key="mlflow.data.context", value=_CONTEXTS.get(name, "evaluation"))],
        )
        for name, digest in inputs.items()
        if name not in _NOT_DATA
    ]
    if found:
        client.log_inputs(run_id, found)
