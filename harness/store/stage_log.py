"""A stage while it runs: the folder that it fills, and what it logs to its MLflow run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from harness.store.runs import NOT_IN_NAMES
from harness.store.system_metrics import system_metrics

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping
    from pathlib import Path

    from harness.store.tracking import Tracking

_PARAM_LIMIT = 500
_AT_ONCE = 500  # points that are logged together at most; MLflow takes 1,000
_WAIT_SECONDS = 1.0  # that a point waits for others: a store is asked once for all, and each time waits for its disk


class Stage:
    """A stage while it runs: the folder to fill, and the run to log to."""

    def __init__(self, tracking: Tracking, run_id: str, folder: Path) -> None:
        self.run_id = run_id
        self.folder = folder
        self._client = tracking.client
        self._tracking_uri = tracking.settings.tracking_uri
        self._points: list[Any] = []
        self._written = time.monotonic()

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters; long values are cut, they stand whole in `stage.json`."""
        from mlflow.entities import Param

        items = [Param(NOT_IN_NAMES.sub("_", key), str(value)[:_PARAM_LIMIT]) for key, value in params.items()]
        for start in range(0, len(items), 100):  # MLflow takes 100 a call
            self._client.log_batch(self.run_id, params=items[start : start + 100])

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a curve, or one figure; points are written together, within a second or so."""
        from mlflow.entities import Metric

        self._points.append(Metric(name, float(value), int(time.time() * 1000), step or 0))
        if len(self._points) >= _AT_ONCE or time.monotonic() - self._written > _WAIT_SECONDS:
            self.write_points()

    def write_points(self) -> None:
        """Write the points that wait."""
        if self._points:
            self._client.log_batch(self.run_id, metrics=self._points)
            self._points = []
        self._written = time.monotonic()

    def system_metrics(self) -> contextlib.AbstractContextManager[None]:
        """Record what the machine does while a training runs."""
        return system_metrics(self.run_id, tracking_uri=self._tracking_uri)

    def set_tag(self, key: str, value: object) -> None:
        """Record a tag."""
        self._client.set_tag(self.run_id, key, value)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Record tags in one call."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])
