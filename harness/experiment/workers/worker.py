"""A worker process: tickets as JSON lines on stdin, events as JSON lines on stdout; it ends when stdin does.

The driver's death closes stdin, and the worker goes at once, as after `kill -9`: what a stage has so far is kept, and
the next driver goes on from there. An error that nobody foresaw ends the process too; its last words are in the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO

from harness.errors import InputError, ScreentestError
from harness.experiment.kinds import provide, stage_kind
from harness.experiment.session import OnProgress, Session, ShowProgress
from harness.experiment.tasks import run_ticket
from harness.experiment.workers.schedule import Event, Ticket
from harness.store.artifacts import from_json, to_json
from harness.store.tracking import Tracking
from harness.types import Progress

PROGRESS_SECONDS = 1.0  # between two reports of one stage


def perform(session: Session, text: str, tell: Callable[[str], object]) -> str:
    """Run one ticket to its end, as JSON in and event out; an error of ours is an event, any other is raised."""
    ticket = from_json(Ticket, json.loads(text))
    task = ticket.task
    for module in ticket.providers:
        provide(module)
    session.parent, session.is_forced = ticket.parent, ticket.is_forced
    session.show = _reporting(task.key, tell)
    if stage_kind(task.kind).is_training and _has_cuda():
        session.pool.clear()  # a training loads its own base; one GPU does not hold both
    try:
        result = run_ticket(session, ticket)
    except ScreentestError as err:
        return _text(Event(key=task.key, kind="failed", message=str(err), is_final=isinstance(err, InputError)))
    session.done.clear()
    return _text(
        Event(key=task.key, kind="done", run_id=result.run_id, seconds=result.seconds, is_reused=result.reused)
    )


def _text(event: Event) -> str:
    return json.dumps(to_json(event))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _reporting(key: str, tell: Callable[[str], object]) -> ShowProgress:
    @contextlib.contextmanager
    def show(label: str) -> Iterator[OnProgress]:
        last = 0.0

        def on_progress(state: Progress) -> None:
            nonlocal last
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                share = state.done / state.total if state.total else 0.0
                tell(_text(Event(key=key, kind="progress", share=share, message=state.note)))

        yield on_progress

    return show


def _lines_or_death(source: IO[str], tickets: queue.Queue[str]) -> None:
    for line in source:
        tickets.put(line)
    os._exit(0)


def main() -> None:
    """Serve until stdin ends."""
    # Libraries print; only events may reach the driver.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    tickets: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_lines_or_death, args=(sys.stdin, tickets), daemon=True).start()
    session = Session(tracking=Tracking())

    def tell(text: str) -> None:
        channel.write(text + "\n")
        channel.flush()

    while True:
        tell(perform(session, tickets.get(), tell))


if __name__ == "__main__":
    main()
