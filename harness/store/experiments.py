"""MLflow's experiments by name: made once, whoever is first, and named where somebody has deleted one."""

from __future__ import annotations

import shlex
from typing import Any

from harness.errors import UnavailableError
from harness.settings import Settings


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

    location = (settings.artifacts / name).as_uri() if settings.is_sqlite else None
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        if (made := client.get_experiment_by_name(name)) is None:
            raise
        return made  # another process was first
