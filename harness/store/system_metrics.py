"""Processor, memory and GPU of a run while it works, where MLflow shows them: its page *System metrics*."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def system_metrics(run_id: str, *, tracking_uri: str) -> Iterator[None]:
    """Sample this machine every ten seconds until the work ends; a run that goes on after a kill goes on here too."""
    from mlflow.system_metrics import system_metrics_monitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it announces its start and end
    untyped: Any = system_metrics_monitor
    monitor = untyped.SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
