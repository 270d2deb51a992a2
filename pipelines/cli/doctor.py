"""`screentest doctor`: what this machine can do, and what to do about each lack."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.terminal import bold, dim, green, red, yellow
from pipelines.cli.presenter import Result, presented

MARKS = {"ok": green("✓"), "lack": yellow("○"), "fail": red("✗")}


@presented
def doctor(
    endpoint: Annotated[
        str | None, typer.Option(help="Instead of this machine: what a server can do, as http://host/v1#model.")
    ] = None,
) -> Result:
    """Say what this machine can do: device, memory, attention, 4-bit, store, corpus, judge keys. Changes nothing.

    With --endpoint, about ten short calls ask a server what it takes and gives; later commands remember it.
    """
    from pipelines.cli.checks import examine, examine_endpoint

    checks = examine() if endpoint is None else examine_endpoint(endpoint)
    is_ok = all(check.status != "fail" for check in checks)
    return Result(
        data={"ok": is_ok, "checks": checks},
        shown=[
            f"{MARKS[check.status]} {bold(f'{check.what:<18}')} {check.detail}"
            + (f"\n  {'':<18} {dim(f'→ {check.advice}')}" if check.advice else "")
            for check in checks
        ],
        exit_code=0 if is_ok else 1,
    )
