"""`screentest doctor`: what this machine can do, and what to do about each lack."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.terminal import bold, dim, green, red, yellow
from pipelines.cli.console import JsonOption, emit, stdout


def doctor(
    endpoint: Annotated[
        str | None, typer.Option(help="Instead of this machine: what a server can do, as http://host/v1#model.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what this machine can do: device, memory, attention, 4-bit, store, corpus, judge keys. Changes nothing.

    With --endpoint, about ten short calls ask a server what it takes and gives; later commands remember it.
    """
    from harness.store.artifacts import to_json
    from pipelines.doctor import examine, examine_endpoint

    findings = examine() if endpoint is None else examine_endpoint(endpoint)
    if json:
        emit({"ok": all(f.status != "fail" for f in findings), "checks": [to_json(f) for f in findings]})
    else:
        marks = {"ok": green("✓"), "lack": yellow("○"), "fail": red("✗")}
        console = stdout()
        for finding in findings:
            console.print(f"{marks[finding.status]} {bold(f'{finding.what:<18}')} {finding.detail}")
            if finding.advice:
                console.print(f"  {'':<18} {dim(f'→ {finding.advice}')}")
    if any(f.status == "fail" for f in findings):
        raise typer.Exit(1)
