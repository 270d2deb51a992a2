"""`screentest import`: evaluation files of other tools, compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from harness.doors.peers.formats import FORMATS
from pipelines.cli import options
from pipelines.cli.outcome import GateOption, evaluation, gated
from pipelines.cli.presenter import Result, Table, Verbs
from pipelines.cli.session import open_command

if TYPE_CHECKING:
    from harness.doors.peers.peer import PeerRun
    from harness.experiment.imports import Imported

app = Verbs("""Compare evaluation files that you already have: paired intervals, verdicts and a report.

    Other tools print each run's mean with an error bar of its own, or none. Whether one run is better than another is
    asked question by question: `screentest import inspect base.eval tuned.eval`

    What the tools' own figures leave out: docs/imports.md.
    """)


def _named(text: str) -> tuple[str | None, Path]:
    """`name=file`, or a file."""
    name, is_named, file = text.partition("=")
    return (name, Path(file)) if is_named and name and not Path(text).exists() else (None, Path(text))


def _with_files(found: Result, imported: Imported) -> Result:
    """The result with what the files say themselves, and how their rows were matched."""
    matched = imported.matched
    told = {
        "tool": imported.tool,
        "matched_by": matched.by,
        "n_shared": matched.n_shared,
        "cluster": imported.cluster,
        "notes": list(imported.notes),
        "runs": {name: _told(run) for name, run in imported.runs.items()},
    }
    said = f"{matched.n_shared:,} questions in all runs, matched by {matched.by}"
    return replace(
        found,
        data={**cast(dict[str, object], found.data), "imported": told},
        shown=(_table(imported.runs), said, *found.shown),
        notes=(*found.notes, *imported.notes),
    )


def _told(run: PeerRun) -> dict[str, object]:
    figures = [{"measure": f.measure, "value": f.value, "error": f.error} for f in run.figures]
    return {
        "name": run.name, "file": str(run.file), "version": run.version, "rows": len(run.rows), "figures": figures,
        "aside": dict(run.aside),
    }  # fmt: skip


def _table(runs: Mapping[str, PeerRun]) -> Table:
    """What the files say themselves, with their own error bars."""
    rows = []
    for name, run in runs.items():
        said = "; ".join(
            f"{f.measure} {f.value:.3g}" + ("" if f.error is None else f" ± {f.error:.2g}") for f in run.figures
        )
        rows.append((name, run.file.name, len(run.rows), said or None))
    return Table(title="In the files", columns=("Run", "File", "Rows", "Its own figures ± standard error"), rows=rows)


def _add(tool: str, what: str) -> None:
    def command(
        files: Annotated[
            list[str], typer.Argument(help="What the tool wrote; `name=FILE` names a run.", metavar="[NAME=]FILE...")
        ],
        control: Annotated[
            str | None, typer.Option(help="The run that the others are compared with; without it the first.")
        ] = None,
        measure: Annotated[
            list[str] | None,
            typer.Option(help="A measure to claim on, more being better; again for more. Without it all."),
        ] = None,
        lower: Annotated[
            list[str] | None, typer.Option(help="A measure of which less is better; again for more.")
        ] = None,
        match: Annotated[
            Literal["auto", "id", "text"],
            typer.Option(help="Match rows by the tool's ids or by the question's text; auto: ids where they agree."),
        ] = "auto",
        cluster: Annotated[
            str | None,
            typer.Option(
                help="A key of the rows' own data (metadata, doc, vars), or `task`: rows with one value are resampled "
                "as one. Without it the tasks where there are ten or more, else each question."
            ),
        ] = None,
        shared: Annotated[
            bool, typer.Option("--shared", help="Leave out questions that some run lacks, in place of missing values.")
        ] = False,
        judge: Annotated[
            list[Path] | None, typer.Option(help="A judge's folder, for the replies in the files.")
        ] = None,
        min_effect: Annotated[
            float, typer.Option(help="Smallest difference that matters, of measures from 0 to 1.", min=0.0001, max=1)
        ] = 0.05,
        task: options.Task = None,
        gate: GateOption = False,
        seed: options.Seed = 7,
        force: options.Force = False,
    ) -> Result:
        from harness.experiment.imports import compare_imported, read_files

        imported = read_files(
            tool, [_named(text) for text in files], control=control, measures=tuple(measure or ()),
            lower=tuple(lower or ()), by=match, cluster=cluster, is_shared_only=shared,
        )  # fmt: skip
        with open_command("import", force=force) as session:
            done = compare_imported(
                session, imported, judges=tuple(judge or ()), min_effect=min_effect, seed=seed, task=task
            )
            found = _with_files(evaluation(session, done), imported)
        return gated(found, done.record, control=next(iter(imported.runs)), treatment="a run") if gate else found

    command.__doc__ = (
        f"{what}\n\n    Two or more runs on the same questions, compared in pairs: `screentest import {tool} A B`"
    )
    app.verb(tool)(command)


for _tool, (_, _what) in FORMATS.items():
    _add(_tool, _what)
