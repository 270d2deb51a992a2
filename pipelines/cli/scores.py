"""`screentest scores`: values of metrics that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.terminal import bold, say
from pipelines.cli import options
from pipelines.cli.presenter import Result, Verbs
from pipelines.cli.session import open_session

app = Verbs("Bring scores made elsewhere.")


@app.verb("import")
def import_scores(
    file: Annotated[Path, typer.Argument(help="JSONL: prompt_id, variant, value (null is missing), draw, cluster.")],
    measure: Annotated[str, typer.Option(help="Name of the measure in experiments.")],
    force: options.Force = False,
) -> Result:
    """Store any metric's per-row values; an experiment then names them: `my_metric: {scores: RUN, better: higher}`."""
    from harness.experiment.imported_scores import import_stage, read_scores

    result = import_stage(open_session(force=force), file, measure=measure)
    rows = read_scores(result.folder)
    n_missing = sum(row.value is None for row in rows)
    say(
        f"{len(rows)} values of {bold(measure)} ({n_missing} missing) for "
        f"{len({row.variant for row in rows})} variants; in an experiment:\n"
        f"  measures: {{{measure}: {{scores: {result.run_id}, better: higher}}}}"
    )
    return Result(data={"run_id": result.run_id, "reused": result.reused, "measure": measure, "rows": len(rows)})
