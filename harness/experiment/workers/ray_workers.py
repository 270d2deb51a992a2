"""Workers on a Ray cluster: one that is there, or one started on this machine; GPUs are resources of a ticket."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.child_processes import root
from harness.errors import InputError, UnavailableError
from harness.experiment.kinds import stage_kind
from harness.experiment.workers.schedule import Event, Ticket
from harness.store.artifacts import from_json, to_json

WAIT_SECONDS = 1.0


class RayWorkers:
    """Tickets as remote calls. A ticket whose node dies fails, and the schedule tries it again elsewhere."""

    def __init__(
        self, n: int, *, environment: Mapping[str, str], address: str | None = None, gpus: float | None = None
    ) -> None:
        try:
            import ray
        except ImportError as err:
            raise UnavailableError("`--executor ray` needs Ray: install screentest[cluster]") from err
        self._ray: Any = ray
        self.n_slots = n
        self._owns_cluster = not ray.is_initialized()
        self._reaper: subprocess.Popen[str] | None = None
        if self._owns_cluster:
            self._connect(n, address or os.environ.get("RAY_ADDRESS"))
        self._refuse_foreign_nodes(environment)
        total = self._ray.cluster_resources()
        self._gpus = min(1.0, float(total.get("GPU", 0.0))) if gpus is None else gpus
        if self._gpus > total.get("GPU", 0.0):
            raise InputError(
                f"`gpus` must be what a node of the cluster has, got {self._gpus:g} of {total.get('GPU', 0.0):g}"
            )
        self._environment = dict(environment)
        self._remote = ray.remote(max_retries=0)(_perform)
        self._running: dict[Any, Ticket] = {}
        self._told: Any = ray.remote(num_cpus=0)(_Told).options(scheduling_strategy=self._here()).remote()

    def start(self, ticket: Ticket) -> None:
        """Send a ticket to whatever node has room."""
        gpus = self._gpus if stage_kind(ticket.task.kind).is_on_device else 0
        call = self._remote.options(
            num_cpus=1, num_gpus=gpus, name=ticket.task.label, runtime_env={"env_vars": self._environment}
        )
        self._running[call.remote(json.dumps(to_json(ticket)), self._told, os.getcwd())] = ticket

    def wait(self) -> list[Event]:
        """Events since the last call."""
        ray = self._ray
        done, _ = ray.wait(list(self._running), timeout=WAIT_SECONDS)
        events = [from_json(Event, json.loads(text)) for text in ray.get(self._told.take.remote())]
        for reference in done:
            ticket = self._running.pop(reference)
            try:
                events.append(from_json(Event, json.loads(ray.get(reference))))
            except ray.exceptions.RayError as err:
                why = str(err).strip().splitlines()[-1]
                events.append(Event(key=ticket.task.key, kind="failed", message=f"its worker failed: {why}"))
        return events

    def close(self) -> None:
        """Stop what runs; a cluster that was started here goes too."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._owns_cluster:
            self._ray.shutdown()
        if self._reaper is not None:
            self._reaper.communicate()

    def _connect(self, n: int, address: str | None) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray gives workers the lowest priority but four: beside any other work they would get 3 % of a processor.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Ray has workers look for packages in the driver's current folder first: let that be where ours lie.
        with contextlib.chdir(root()):
            if address is None:
                before = _children()
                self._ray.init(address="local", num_cpus=n, include_dashboard=False, **quiet)
                self._reaper = _reaper(_children() - before)
                return
            try:
                self._ray.init(address=address, **quiet)
            except ConnectionError as err:
                raise UnavailableError(f"`{address}` must be a running Ray cluster: {err}") from err

    def _here(self) -> Any:
        """The driver's own node: what lies on another goes when that node does."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)

    def _refuse_foreign_nodes(self, environment: Mapping[str, str]) -> None:
        """A server on 127.0.0.1 and a SQLite file are out of reach from another machine."""
        uri = environment["MLFLOW_TRACKING_URI"]
        here = self._ray.util.get_node_ip_address()
        others = {n["NodeManagerAddress"] for n in self._ray.nodes() if n["Alive"]} - {here}
        is_private = uri.startswith("sqlite") or "//127.0.0.1:" in uri
        if others and is_private:
            raise InputError(
                "`MLFLOW_TRACKING_URI` must name an MLflow server that every node of the cluster reaches, got a store "
                f"of this machine with {len(others)} nodes elsewhere: start `mlflow server` and set it"
            )


def _children() -> set[tuple[int, float]]:
    """What this process has started, and what that has: numbers, and when they began."""
    import psutil

    return {(child.pid, child.create_time()) for child in psutil.Process().children(recursive=True)}


def _reaper(processes: set[tuple[int, float]]) -> subprocess.Popen[str]:
    """A process that ends those when this one has ended."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("reaper.py"))]
    reaper = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
    if reaper.stdin is not None:
        reaper.stdin.write(json.dumps(sorted(processes)) + "\n")
        reaper.stdin.flush()
    return reaper


class _Told:
    """An actor that keeps what workers tell until the driver asks."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def put(self, text: str) -> None:
        self._texts.append(text)

    def take(self) -> list[str]:
        taken, self._texts = self._texts, []
        return taken


def refuse_sqlite(uri: str) -> None:
    """SQLite has one writer and no network: remote workers log through a server.

    Raises InputError: the store is a SQLite file.
    """
    if uri.startswith("sqlite"):
        raise InputError(f"`MLFLOW_TRACKING_URI` must name an MLflow server for remote workers, got `{uri}`")


def _perform(text: str, told: Any, folder: str) -> str:
    """On a node: one ticket; its model stays in memory of the Ray process for the next one.

    `folder` is the driver's current one, from which relative paths of a ticket go where this machine has it too.
    """
    from harness.experiment.session import Session
    from harness.experiment.workers.worker import perform
    from harness.store.tracking import Tracking

    with contextlib.suppress(OSError):
        os.chdir(folder)
    session = _SESSIONS.get("session")
    if session is None:
        tracking = Tracking()
        refuse_sqlite(tracking.settings.tracking_uri)
        session = _SESSIONS.setdefault("session", Session(tracking=tracking))
    return perform(session, text, told.put.remote)


_SESSIONS: dict[str, Any] = {}
