"""`screentest trace`: from a number back to its rows."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.terminal import bold, dim, green, red
from pipelines.cli.console import JsonOption, emit, stdout, table


def trace(
    run: Annotated[str, typer.Argument(help="Run that the report shows, or `latest`.")],
    number: Annotated[
        str, typer.Argument(help="`measure/variant` or `measure/contrast`, as the report names it.", metavar="NUMBER")
    ],
    rows: Annotated[int, typer.Option(help="Show this many of the rows.", min=0)] = 5,
    json: JsonOption = False,
) -> None:
    """Walk from a number in a report to the rows, runs and digests under it.

    Checks on the way that the stored files still have the digests that the report recorded.
    """
    from harness.store.artifacts import to_json
    from harness.store.tracking import Tracking
    from pipelines.tracing import walk

    walked = walk(Tracking(), run, number)
    if json:
        emit(to_json(walked))
        return
    console = stdout()
    console.print(f"{bold(walked.key)}  {walked.written}  {dim(walked.basis)}")
    console.print(f"{dim(walked.method)}\n")
    for step in walked.sources:
        where = ", ".join(f"{key} = {value}" for key, value in step.where.items()) or "all rows"
        mark = green("✓") if step.is_intact else red("✗ altered since the report")
        console.print(f"{mark} {step.stage} run {bold(step.run_id)} · {step.artifact} ({where}): {step.n_rows} rows")
        console.print(f"  sha256 {step.digest}")
        console.print(f"  fingerprint {step.fingerprint}", style="dim")
        for name, digest in step.inputs.items():
            console.print(f"  input {name}: {digest}", style="dim")
        if rows and step.rows:
            columns = list(step.rows[0])
            table("", columns, [[_cell(row[c]) for c in columns] for row in step.rows[:rows]])
    if not all(step.is_intact for step in walked.sources):
        raise typer.Exit(1)


def _cell(value: object) -> str:
    text = "missing" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 48 else text[:47] + "…"
