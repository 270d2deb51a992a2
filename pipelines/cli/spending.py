"""How a verb shows what endpoints would cost, and what they did cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.terminal import warning
from pipelines.cli.console import emit, say, table

if TYPE_CHECKING:
    from harness.experiment.judges.spending import Planned
    from harness.experiment.session import Session

UNKNOWN = "unknown"


def show_plan(planned: Sequence[Planned], *, json: bool) -> None:
    """Calls, tokens and price of what would be sent; an unknown price is said, never 0."""
    if json:
        emit(
            [
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
                for p in planned
            ]
        )
        return
    if not planned:
        say("No endpoint would be asked.")
        return
    columns = ("What", "Calls", "Known already", "Tokens in, at most", "Tokens out, at most", "US$, at most")
    rows = [
        (
            p.what,
            f"{p.plan.n_calls:,}",
            f"{p.plan.n_known:,}",
            f"{p.plan.n_input_at_most:,}",
            f"{p.plan.n_output_at_most:,}",
            UNKNOWN if p.plan.usd_at_most is None else f"{p.plan.usd_at_most:.4f}",
        )
        for p in planned
    ]
    table("Nothing was sent", columns, rows)
    for p in planned:
        if p.note:
            say(warning(f"{p.what}: {p.note}"))
    say("A token is at least one byte, so these are upper bounds; English text has about a quarter as many tokens.")


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
