"""The order of tasks: whatever is ready runs, the longest road first; what fails is tried again, then left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from harness.experiment.graph import REPLIES, Task
from harness.experiment.kinds import stage_kind
from harness.store.tracking import StageResult, Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One attempt at a task, as a worker gets it."""

    task: Task
    needs: Mapping[str, str]  # role → run of the finished stage
    parent: str = ""  # run that the stage nests under; in this process it is the session's
    declaration: str = ""
    is_forced: bool = False
    providers: tuple[str, ...] = ()  # modules that declare kinds of stages, for a process that has not imported them


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a worker tells."""

    key: str
    kind: Literal["progress", "done", "failed"]
    run_id: str = ""  # done
    seconds: float = 0.0  # done: of the run that did the work
    is_reused: bool = False
    message: str = ""  # failed, or a note beside the progress
    is_final: bool = False  # failed: would fail again
    share: float = 0.0  # progress: 0 … 1


def plain_ticket(task: Task, needs: Mapping[str, str]) -> Ticket:
    """An attempt in this process, with nothing declared."""
    return Ticket(task=task, needs=needs)


class Workers(Protocol):
    """What runs tickets: this process, others on this machine, or a cluster."""

    n_slots: int  # tickets at once

    def start(self, ticket: Ticket) -> None:
        """Begin a ticket; called with a slot free."""

    def wait(self) -> list[Event]:
        """What has happened since the last call; waits at most about a second."""

    def close(self) -> None:
        """Let go of every process."""


@dataclass(slots=True, kw_only=True)
class Ran:
    """How a plan went."""

    runs: dict[str, str] = field(default_factory=dict)  # task → run of its finished stage
    reused: set[str] = field(default_factory=set)  # tasks whose stage had been finished before
    failures: dict[str, str] = field(default_factory=dict)  # task → why it is missing
    n_retries: int = 0
    seconds: float = 0.0


def run_tasks(
    tasks: Mapping[str, Task],
    workers: Workers,
    *,
    ran: Ran,
    ticket: Callable[[Task, Mapping[str, str]], Ticket] = plain_ticket,
    on_event: Callable[[Event], None] = lambda event: None,
    n_attempts: int = 2,
) -> None:
    """Run every task that `ran` does not hold yet; one that needs a failed one fails with it, unless it is joint.

    The longest road goes first; one at a time, tasks go in their own order.

    Args:
        ran: what is done so far; filled.
        ticket: makes the attempt from a task and the runs of what it needs.
    """
    began = time.perf_counter()
    road = _road(tasks)
    order = list(tasks) if workers.n_slots == 1 else sorted(tasks, key=lambda key: -road[key])
    attempts: dict[str, int] = {}
    running: set[str] = set()
    while True:
        _give_up(tasks, ran, on_event)
        for key in order:
            if len(running) < workers.n_slots and _is_ready(tasks[key], ran, running):
                needs = {role: ran.runs[need] for role, need in tasks[key].needs.items() if need in ran.runs}
                attempts[key] = attempts.get(key, 0) + 1
                running.add(key)
                workers.start(ticket(tasks[key], needs))
        if not running:
            break
        for event in workers.wait():
            on_event(event)
            if event.kind == "progress":
                continue
            running.discard(event.key)
            if event.kind == "done":
                ran.runs[event.key] = event.run_id
                if event.is_reused:
                    ran.reused.add(event.key)
            elif event.is_final or attempts[event.key] >= n_attempts:
                ran.failures[event.key] = event.message
            else:
                ran.n_retries += 1
    ran.seconds += time.perf_counter() - began


def _is_ready(task: Task, ran: Ran, running: Collection[str]) -> bool:
    is_open = task.key not in ran.runs and task.key not in ran.failures and task.key not in running
    return is_open and all(need in ran.runs or need in ran.failures for need in task.needs.values())


def _give_up(tasks: Mapping[str, Task], ran: Ran, on_event: Callable[[Event], None]) -> None:
    """Mark what stands on a failed task, however many steps away."""
    found = True
    while found:
        found = False
        for task in tasks.values():
            lost = {role: need for role, need in task.needs.items() if need in ran.failures}
            left = [role for role in task.needs if role.startswith(REPLIES) and role not in lost]
            if lost and not (task.is_joint and left) and task.key not in ran.failures:
                ran.failures[task.key] = ran.failures[next(iter(lost.values()))]
                on_event(Event(key=task.key, kind="failed", message=ran.failures[task.key], is_final=True))
                found = True


def _road(tasks: Mapping[str, Task]) -> dict[str, float]:
    """Weight of the longest road that begins with each task."""
    after: dict[str, list[str]] = {key: [] for key in tasks}
    for task in tasks.values():
        for need in task.needs.values():
            if need in after:
                after[need].append(task.key)
    road: dict[str, float] = {}

    def length(key: str) -> float:
        if key not in road:
            road[key] = stage_kind(tasks[key].kind).weight + max((length(below) for below in after[key]), default=0.0)
        return road[key]

    for key in tasks:
        length(key)
    return road


def stage_result(tracking: Tracking, run_id: str, *, is_reused: bool = False) -> StageResult:
    """What a stage of another process left behind. Raises InputError: the run is no finished stage."""
    info = tracking.run(run_id)
    source = tracking.source_of(info)
    return tracking.result(source, run_id=run_id, reused=is_reused or source.run_id != run_id)
