"""The run that `mlflow run` made for this process: ours where it started an entry point of this project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
