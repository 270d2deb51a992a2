"""MLflow's experiments by name: made once, whoever is first, and named where somebody has deleted one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from harness.errors import UnavailableError
from harness.settings import Settings

_DATA = "What runs of `screentest` read: prepared corpora, preference pairs."
_RUNS = "A command is a run, what it did are the runs under it: training, replies, measures, judges, estimates."


def experiment_id(client: Any, name: str, *, settings: Settings) -> str:
    """Id of an experiment, made with an explicit artifact location when it is new.

    Raises:
        UnavailableError: it was deleted; what a person threw away is not brought back without a word.
    """
    found = client.get_experiment_by_name(name) or _made(client, name, settings)
    if found.lifecycle_stage == "deleted":
        raise UnavailableError(
            f"experiment `{name}` of `{settings.store_name}` was deleted; bring it back with "
            f"`MLFLOW_TRACKING_URI={shlex.quote(settings.store_name)} mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or remove it for good with `mlflow gc`"
        )
    return str(found.experiment_id)


def _made(client: Any, name: str, settings: Settings) -> Any:
    from mlflow.exceptions import MlflowException

    note = {"mlflow.note.content": _DATA if name.endswith("-data") else _RUNS}
    location = (settings.artifacts / name).as_uri() if settings.is_sqlite else None
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location, tags=note))
    except MlflowException:
        if (made := client.get_experiment_by_name(name)) is None:
            raise
        return made  # another process was first


ADOPT_VARIABLE = "MLFLOW_RUN_ID"
PROJECT = "screentest"  # the name in MLproject


def inherited_run(client: Any) -> str | None:
    """The run id that `mlflow run` gave this process, once: the first taker owns it.

    A run of somebody's own script, of another project, or one that has ended, is left alone.
    """
    from mlflow.exceptions import MlflowException

    run_id = os.environ.pop(ADOPT_VARIABLE, None)
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException:  # of another store
        return None
    entry = run.data.tags.get("mlflow.project.entryPoint")
    is_open = run.info.status in ("RUNNING", "SCHEDULED") and run.info.lifecycle_stage == "active"
    return run_id if is_open and entry in _entry_points() else None


def _entry_points() -> set[str]:
    """Of the project in whose folder `mlflow run` has started this process; empty where that is not this one."""
    import yaml

    try:
        declared = yaml.safe_load(Path("MLproject").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return set()
    is_ours = isinstance(declared, dict) and declared.get("name") == PROJECT
    return set(declared.get("entry_points") or {}) if is_ours else set()
