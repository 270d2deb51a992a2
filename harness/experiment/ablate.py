"""An ablation from its file to its report: plan, run what is not done yet, collect, analyse."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.child_processes import SAFE_PATH
from harness.errors import ConfigError
from harness.experiment.arms import AblationDesign
from harness.experiment.engine import Finished, conclude, run_plan
from harness.experiment.evaluate import load_design
from harness.experiment.plan import plan_ablation
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preflight import look, require_affordable
from harness.experiment.session import Session
from harness.experiment.workers.schedule import Ran, Workers
from harness.experiment.workers.screen import Screen
from harness.experiment.workers.tracking_server import served
from harness.models.bases import resolve_base
from harness.settings import ENDPOINTS, Settings
from harness.store.tracking import Stage, Tracking
from harness.types import Variant

if TYPE_CHECKING:
    from rich.console import Console

    from harness.experiment.graph import Plan
    from harness.reporting.record import ReportRecord

ExecutorName = Literal["local", "ray"]
COMMAND = "ablate"
DRIVER = "driver"  # tag: host and process that drives the run
N_ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where tasks run."""

    name: ExecutorName = "local"
    n_workers: int = 2
    address: str | None = None  # of a Ray cluster that is there
    gpus: float | None = None  # GPUs a ticket takes; None: one where the cluster has any


def run(
    tracking: Tracking,
    design: AblationDesign,
    *,
    file: Path,
    profile: str | None,
    executor: Executor,
    console: Console,
    say: Any = lambda text: None,
    limit: int | None = None,
    is_forced: bool = False,
    budget_usd: float | None = None,
) -> Finished:
    """Run an ablation; what stands finished is reused, so that a killed driver's successor goes on from there.

    Workers have no purse in common: with a budget it does not begin where calls could cost more.

    Raises InputError: the design cannot be run as it stands; found before anything is trained.
    """
    began = time.perf_counter()
    plan = plan_ablation(design, folder=file.resolve().parent, limit=limit)
    # Servers are asked for the bases now and for an adapter when it has been trained.
    bases = [resolve_base(source, revision=revision) for source, revision in _named_bases(plan).items()]
    Session(tracking=tracking).require_served(Variant(name=b.source, kind="model", base=b) for b in bases)
    checked = preflight(tracking, design, file=file, limit=limit, is_forced=is_forced, budget_usd=budget_usd)
    checked.begin(say)
    tracking.experiment_id()  # made here, so that its artifacts lie in the home whoever logs
    with _store(tracking.settings, executor) as settings, _only_results_on_stdout(executor):
        store = Tracking(settings)
        _bury_dead_drivers(store)
        tags = {"declaration": design.declaration_digest(), "ablation": design.name, "profile": profile or ""}
        tags[DRIVER] = f"{socket.gethostname()}:{os.getpid()}"
        with store.command(COMMAND, tags=tags) as parent, _child_runs(store, design, plan, parent.run_id) as cells:
            ran = Ran()
            session = Session(tracking=store, parent=parent.run_id, is_forced=is_forced, say=say)
            workers = _workers(executor, settings)
            try:
                with Screen(plan, console, say=say) as screen:
                    run_plan(
                        session, design, plan, workers, ran=ran, beside=standing_declarations(file), parents=cells,
                        on_event=screen.on_event, n_attempts=N_ATTEMPTS,
                    )  # fmt: skip
            finally:
                workers.close()
            finished = conclude(
                session, design, plan, ran, profile=profile, executor=executor.name, n_workers=executor.n_workers
            )
            _close_cells(store, plan, cells, finished.record, finished.lost)
    return replace(finished, seconds=time.perf_counter() - began)


def preflight(
    tracking: Tracking,
    design: AblationDesign,
    *,
    file: Path,
    limit: int | None = None,
    is_forced: bool = False,
    budget_usd: float | None = None,
) -> Preflight:
    """What `run` would need, checked; nothing but the data is prepared."""
    folder = file.resolve().parent
    plan = plan_ablation(design, folder=folder, limit=limit)
    found = look(Session(tracking=tracking, is_forced=is_forced), design, plan, folder=folder)
    if budget_usd is not None:
        require_affordable(found, budget_usd)
    return found


def standing_declarations(file: Path) -> tuple[str, ...]:
    """Digests of every ablation that is declared beside a file.

    Ablations share stages: replies that one generates serve another. Tagging all that stood declared at that time lets
    each of them say whether its contrasts were chosen before the data.
    """
    digests: list[str] = []
    for other in sorted(file.resolve().parent.glob("*.yaml")):
        with contextlib.suppress(ConfigError):
            digests += load_design(other, AblationDesign).standing()
    return tuple(digests)


def _only_results_on_stdout(executor: Executor) -> contextlib.AbstractContextManager[object]:
    """Ray prints of workers that died to stdout, whatever its logging is set to; a script reads JSON there."""
    return contextlib.redirect_stdout(sys.stderr) if executor.name == "ray" else contextlib.nullcontext()


def _store(settings: Settings, executor: Executor) -> contextlib.AbstractContextManager[Settings]:
    """The store that workers log to: parallel writers go through a server."""
    is_lone = executor.name == "local" and executor.n_workers == 1
    return contextlib.nullcontext(settings) if is_lone or not settings.is_sqlite else served(settings)


def _workers(executor: Executor, settings: Settings) -> Workers:
    n_threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // executor.n_workers))
    shared = {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "SCREENTEST_HOME": str(settings.home),
        "SCREENTEST_CACHE": str(settings.cache),
        ENDPOINTS: ",".join(settings.endpoints),
        "OMP_NUM_THREADS": n_threads,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TOKENIZERS_PARALLELISM": "false",
        **SAFE_PATH,
    }
    if executor.name == "ray":
        from harness.experiment.workers.ray_workers import RayWorkers

        return RayWorkers(executor.n_workers, environment=shared, address=executor.address, gpus=executor.gpus)
    from harness.experiment.workers.local_workers import LocalWorkers

    inherited = {key: value for key, value in os.environ.items() if key != "MLFLOW_RUN_ID"}
    return LocalWorkers(executor.n_workers, environment={**inherited, **shared}, logs=settings.work / "ablate-logs")


def _named_bases(plan: Plan) -> dict[str, str | None]:
    bases = [task.settings["base"] for task in plan.tasks.values() if task.kind == "prepare"]
    return {base["source"]: base["revision"] for base in bases if base["source"] is not None}


def _bury_dead_drivers(store: Tracking) -> None:
    """End the runs of drivers that were killed on this machine; what their stages have stays and is gone on with."""
    import psutil

    for info in store.find(stage=COMMAND, status="RUNNING"):
        host, _, pid = info.tags.get(DRIVER, "").partition(":")
        if host != socket.gethostname() or not pid.isdigit() or psutil.pid_exists(int(pid)):
            continue
        for child in store.children(info.run_id):
            # An unfinished stage stays open: whoever wants it next goes on with it.
            if child.status == "RUNNING" and (child.stage == "arm" or "reused_from" in child.tags):
                store.client.set_terminated(child.run_id, status="KILLED")
        store.client.set_terminated(info.run_id, status="KILLED")


@contextlib.contextmanager
def _child_runs(store: Tracking, design: AblationDesign, plan: Plan, parent: str) -> Iterator[dict[str, str]]:
    """A child run per arm and seed, so that MLflow's own page compares them; none is left open."""
    opened: dict[str, str] = {}
    for cell in plan.cells:
        run_id = store.create(cell.name, parent=parent, tags={"stage": "arm"})
        settings = {"arm": cell.arm, "seed": cell.seed, **design.settings_of(cell.arm)}
        Stage(store, run_id, store.settings.work).log_params(settings)
        opened[cell.name] = run_id
    try:
        yield opened
    finally:
        for run_id in opened.values():
            if store.run(run_id).status == "RUNNING":
                store.client.set_terminated(run_id, status="KILLED")


def _close_cells(
    store: Tracking, plan: Plan, cells: Mapping[str, str], record: ReportRecord, lost: Mapping[str, str]
) -> None:
    """The arm's numbers as metrics of its child runs; they are estimates over all seeds of the arm."""
    for cell in plan.cells:
        run_id = cells[cell.name]
        if cell.name in lost:
            store.client.set_tag(run_id, "failure", lost[cell.name][:500])
            store.client.set_terminated(run_id, status="FAILED")
            continue
        arm = Stage(store, run_id, store.settings.work)
        for finding in record.findings:
            if finding.variant == cell.arm and finding.estimate.n:
                arm.log_metric(f"arm/{finding.name}", finding.estimate.value)
        arm.write_points()
        store.client.set_terminated(run_id)
