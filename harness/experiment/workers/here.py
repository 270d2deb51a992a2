"""Workers that are this process: tickets one after another, with the command's own session, screen and spending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.experiment.tasks import run_ticket
from harness.experiment.workers.schedule import Event, Ran, Ticket, run_tasks, stage_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.experiment.graph import Task
    from harness.experiment.session import Session
    from harness.store.tracking import StageResult


class ThisProcess:
    """Runs a ticket when it is given one; what goes wrong is raised there, and ends the command."""

    n_slots = 1

    def __init__(self, session: Session) -> None:
        self._session = session
        self._done: list[Event] = []

    def start(self, ticket: Ticket) -> None:
        """Run a ticket to its end."""
        found = run_ticket(self._session, ticket)
        self._done.append(
            Event(key=ticket.task.key, kind="done", run_id=found.run_id, seconds=found.seconds, is_reused=found.reused)
        )

    def wait(self) -> list[Event]:
        """What was done since the last call."""
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Nothing to let go of."""


def run_here(session: Session, tasks: Mapping[str, Task]) -> dict[str, StageResult]:
    """Run tasks in this process, in their order; their stages by key."""
    ran = Ran()
    run_tasks(tasks, ThisProcess(session), ran=ran)
    return {
        key: stage_result(session.tracking, run_id, is_reused=key in ran.reused) for key, run_id in ran.runs.items()
    }
