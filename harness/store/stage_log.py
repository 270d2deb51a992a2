"""A stage while it runs: the folder that it fills, and what it logs to its MLflow run."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.store.runs import NOT_IN_NAMES

if TYPE_CHECKING:
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

    @contextlib.contextmanager
    def system_metrics(self) -> Iterator[None]:
        """Sample this machine every ten seconds while a training runs, which may go on after a kill."""
        from mlflow.system_metrics import system_metrics_monitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it announces its start and end
        untyped: Any = system_metrics_monitor
        monitor = untyped.SystemMetricsMonitor(self.run_id, resume_logging=True, tracking_uri=self._tracking_uri)
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def set_tag(self, key: str, value: object) -> None:
        """Record a tag."""
        self._client.set_tag(self.run_id, key, value)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Record tags in one call."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])


_NOT_DATA = ("variant", "tokenizer", "base", "parent")  # models: they have pages of their own
_DATA_STAGES = ("prepare", "pairs", "generate")  # of the stages that an analysis reads, as `name:place`
_LONGEST_DIGEST = 36  # of MLflow's column
_CONTEXTS = {"prepared": "training", "pairs": "training", "corpus": "training"}


def log_datasets(client: Any, run_id: str, inputs: Mapping[str, str], *, sources: Mapping[str, str]) -> None:
    """Record the data that a stage reads, by name and digest; `sources` has the run that made them, by digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = [
        DatasetInput(
            dataset=Dataset(
                name="prepared" if name.startswith("prepare:") else name.partition(":")[0],
                digest=digest[:_LONGEST_DIGEST],
                source_type="run" if digest in sources else "digest",
                source=json.dumps({"uri": f"runs:/{sources[digest]}"} if digest in sources else {"digest": digest}),
            ),
            tags=[InputTag(key="mlflow.data.context", value=_CONTEXTS.get(name, "evaluation"))],
        )
        for name, digest in inputs.items()
        if name not in _NOT_DATA and (":" not in name or name.partition(":")[0] in _DATA_STAGES)
    ]
    if found:
        client.log_inputs(run_id, found)
