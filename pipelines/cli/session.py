"""A session with a screen: what every verb that runs stages begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.experiment.judges.spending import Spending
from harness.experiment.session import Session
from harness.models.devices import gpu_trouble
from harness.models.endpoint.budget import Budget
from harness.store.tracking import Tracking
from harness.terminal import progress, say, yellow
from pipelines.cli.spending import say_spent


def say_gpu_trouble() -> None:
    """Say why a card that is in this machine is not used."""
    if (trouble := gpu_trouble()) is not None:
        say(f"{yellow('the CPU is used')}: {trouble}")


def open_session(*, force: bool = False, budget_usd: float | None = None) -> Session:
    """A session on the store that the environment names, with progress on stderr."""
    say_gpu_trouble()
    spending = Spending(budget=None if budget_usd is None else Budget(budget_usd))
    return Session(tracking=Tracking(), is_forced=force, show=progress, say=say, spending=spending)


@contextlib.contextmanager
def open_command(name: str, *, force: bool = False, budget_usd: float | None = None) -> Iterator[Session]:
    """A session whose stages nest under one run of this command; says what endpoints cost when all is done."""
    session = open_session(force=force, budget_usd=budget_usd)
    with session.tracking.command(name) as parent:
        session.parent = parent.run_id
        yield session
    say_spent(session)
