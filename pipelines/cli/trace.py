"""`screentest trace`: from a number back to its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from harness.terminal import bold, dim, green, red
from pipelines.cli.presenter import Result, Table, presented

if TYPE_CHECKING:
    from harness.reporting.number_lineage import TracedSource


@presented
def trace(
    run: Annotated[str, typer.Argument(help="Run that the report shows, or `latest`.")],
    number: Annotated[
        str, typer.Argument(help="`measure/variant` or `measure/contrast`, as the report names it.", metavar="NUMBER")
    ],
    rows: Annotated[int, typer.Option(help="Show this many of the rows.", min=0)] = 5,
) -> Result:
    """Walk from a number in a report to the rows, runs and digests under it.

    Checks on the way that the stored files still have the digests that the report recorded.
    """
    from harness.reporting.number_lineage import walk
    from harness.store.tracking import Tracking

    walked = walk(Tracking(), run, number)
    shown: list[Table | str] = [
        f"{bold(walked.key)}  {walked.written}  {dim(walked.basis)}\n{dim(walked.method)}\n",
        *(block for step in walked.sources for block in _source(step, n_rows=rows)),
    ]
    return Result(data=walked, shown=shown, exit_code=0 if all(step.is_intact for step in walked.sources) else 1)


def _source(step: TracedSource, *, n_rows: int) -> Iterator[Table | str]:
    where = ", ".join(f"{key} = {value}" for key, value in step.where.items()) or "all rows"
    mark = green("✓") if step.is_intact else red("✗ altered since the report")
    yield "\n".join(
        (
            f"{mark} {step.stage} run {bold(step.run_id)} · {step.artifact} ({where}): {step.n_rows} rows",
            f"  sha256 {step.digest}",
            dim(f"  fingerprint {step.fingerprint}"),
            *(dim(f"  input {name}: {digest}") for name, digest in step.inputs.items()),
        )
    )
    shown = step.rows[:n_rows]
    columns = list(shown[0]) if shown else []
    yield Table(columns=columns, rows=[[_cell(row[c]) for c in columns] for row in shown])


def _cell(value: object) -> str:
    text = "missing" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 48 else text[:47] + "…"
