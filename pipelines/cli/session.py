"""A session with a screen: what every verb that runs stages begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.settings import Settings
from harness.store.database import open_database
from harness.store.tracking import Tracking
from harness.terminal import progress, say, warning, yellow
from pipelines.cli.presenter import UNKNOWN, Result, Table

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from harness.experiment.planning.preflight_table import Preflight
    from harness.experiment.session import Session


def open_store() -> Engine:
    """The SQL store that the environment names: ratings, and what judges answered."""
    return open_database(Settings.from_environment().database_url)


def say_gpu_trouble() -> None:
    """Say why a card that is in this machine is not used."""
    from harness.models.devices import gpu_trouble

    if (trouble := gpu_trouble()) is not None:
        say(f"{yellow('the CPU is used')}: {trouble}")


def open_session(*, force: bool = False, budget_usd: float | None = None) -> Session:
    """A session on the store that the environment names, with progress on stderr."""
    from harness.experiment.judges.spending import Spending
    from harness.experiment.session import Session
    from harness.models.endpoint.prices import Budget

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


_COLUMNS = ("What", "Calls", "Known already", "Tokens in, at most", "Tokens out, at most", "US$, at most")
_UPPER = "A token is at least one byte, so these are upper bounds; English text has about a quarter as many tokens."


def checks(found: Preflight) -> Result:
    """What was checked, then calls, tokens and price of what would be sent; an unknown price is said, never 0."""
    calls = [
        {
            "what": p.what,
            "calls": p.plan.n_calls,
            "known": p.plan.n_known,
            "bytes": p.plan.n_bytes,
            "input_tokens_at_most": p.plan.n_input_at_most,
            "output_tokens_at_most": p.plan.n_output_at_most,
            "usd_at_most": p.plan.usd_at_most,
            "note": p.note,
        }
        for p in found.planned
    ]
    keys = ("what", "calls", "known", "input_tokens_at_most", "output_tokens_at_most")
    rows = [
        (*(row[key] for key in keys), UNKNOWN if row["usd_at_most"] is None else f"{row['usd_at_most']:.4f}")
        for row in calls
    ]
    told = [("lacking" if c.is_lacking else "", c.what, c.found) for c in found.checks]
    return Result(
        data={
            "checks": [{"what": c.what, "found": c.found, "is_lacking": c.is_lacking} for c in found.checks],
            "calls": calls,
        },
        shown=(
            Table(title="Preflight", columns=("", "What", "Found"), rows=told),
            Table(title="Nothing was sent", columns=_COLUMNS, rows=rows),
        ),
        notes=(
            *(warning(f"{p.what}: {p.note}") for p in found.planned if p.note),
            _UPPER if found.planned else "No endpoint would be asked.",
        ),
        failure=found.lacking,
        exit_code=2 if found.lacking else 0,
    )


def say_spent(session: Session) -> None:
    """What this command asked endpoints for; silent where it asked none."""
    spent = session.spending.spent()
    if spent is None or spent.n_calls == 0:
        return
    unknown = f", {spent.n_unknown:,} calls of unknown price" if spent.n_unknown else ""
    failed = f", {spent.n_failed:,} failed" if spent.n_failed else ""
    say(
        f"  endpoints: {spent.n_calls:,} calls{failed}, {spent.n_input:,} tokens in, {spent.n_output:,} out, "
        f"${spent.usd:.4f}{unknown}"
    )
