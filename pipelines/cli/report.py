"""`screentest report`, `screentest trace`: a finished evaluation as files, and the way from a number to its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.store.tracking import Tracking
from harness.terminal import bold, dim, green, red, say
from pipelines.cli.presenter import Result, Table, presented

if TYPE_CHECKING:
    from harness.reporting.number_lineage import TracedSource


@presented
def report(
    run: Annotated[
        str, typer.Argument(help="Run of an evaluation, comparison or quickstart; `latest` is the newest.")
    ] = "latest",
    out: Annotated[Path | None, typer.Option(help="Folder to write into; mlruns/reports/<name> when left out.")] = None,
    samples: Annotated[
        bool,
        typer.Option("--samples/--no-samples", help="With or without text, for corpora that may not be published."),
    ] = True,
    format: Annotated[
        Literal["files", "github"],
        typer.Option(help="files: HTML, Markdown and JSON. github: the answer alone on stdout, for a pull request."),
    ] = "files",
) -> Result:
    """Render the report of a run: one self-contained HTML file (no network), Markdown and JSON.

    The answer as a comment on a pull request:

        screentest report latest --format github | gh pr comment --body-file -
    """
    from harness.reporting.finished_reports import export_report, record_of
    from harness.reporting.render import render_comment

    tracking = Tracking()
    record = record_of(tracking, run)
    if not samples:
        record = replace(record, samples=(), sampling="")
    if format == "github":
        comment = render_comment(record)
        return Result(data={"comment": comment}, shown=(comment.rstrip("\n"),))
    files = export_report(tracking, record, folder=out)
    say(f"report: {bold(files.html)}")
    paths = {"report": str(files.html), "markdown": str(files.markdown), "json": str(files.json)}
    return Result(data=paths, shown=(paths["report"],))


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
