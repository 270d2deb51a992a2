"""`screentest report`: a finished evaluation as HTML, Markdown and JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.terminal import bold, say
from pipelines.cli.presenter import Result, presented


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
    from harness.reporting.render import render_comment
    from harness.reporting.runs import export_report, record_of
    from harness.store.tracking import Tracking

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
