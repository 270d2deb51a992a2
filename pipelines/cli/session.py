"""A session with a screen: what every verb that runs stages begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.tracking import Tracking
from pipelines.cli.console import progress, say
from pipelines.session import Session


def open_session(*, force: bool = False) -> Session:
    """A session on the store that the environment names, with progress on stderr."""
    return Session(tracking=Tracking(), is_forced=force, show=progress, say=say)


@contextlib.contextmanager
def open_command(name: str, *, force: bool = False) -> Iterator[Session]:
    """A session whose stages nest under one run of this command."""
    session = open_session(force=force)
    with session.tracking.command(name) as parent:
        session.parent = parent.run_id
        yield session
