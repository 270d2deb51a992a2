"""`screentest ratings`: what people said elsewhere, as a closed study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.terminal import bold, dim, say
from pipelines.cli.presenter import Result, Table, Verbs
from pipelines.cli.session import open_store

app = Verbs("Bring ratings that people gave elsewhere.")

ScaleOption = Annotated[str | None, typer.Option(help="Lowest and highest mark, as 1-5; else what the rows name.")]


@app.verb("import")
def import_ratings(
    file: Annotated[
        Path,
        typer.Argument(
            help="Rows with item, rater, criterion, value (scale, cluster), or left, right, winner; an export of "
            "Argilla, Label Studio or Potato; a survey's CSV. JSON, JSONL, CSV or TSV."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Of the study; the file's name when left out.")] = None,
    items: Annotated[
        Path | None, typer.Option(help="JSONL of what could be rated: item, variant, cluster, prompt, reply.")
    ] = None,
    scale: ScaleOption = None,
    criterion: Annotated[
        list[str] | None, typer.Option(help="Take this question; may be repeated. All that are marks when left out.")
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(help="What a person costs over a judge: 0.2 experts, 0.15 skilled, 0.1 crowd.", min=0, max=0.99),
    ] = 0.15,
) -> Result:
    """Store ratings collected elsewhere as a closed study, whole or not at all; `judge validate` holds judges to it."""
    from harness.studies import imported

    engine = open_store()
    found = imported.import_ratings(
        engine,
        file,
        name=name or imported.study_name(file),
        items=items,
        scale=None if scale is None else imported.read_scale(scale),
        criteria=criterion or (),
        epsilon=epsilon,
    )
    study = found.study
    again = "" if found.is_new else ", as before"
    say(
        f"{bold(study.name)}: {found.n_ratings:,} ratings of {found.n_items:,} items by {found.n_raters:,} raters "
        f"({found.form}){again}; closed"
    )
    rows = [
        (c.name, ", ".join(study.labels[c.name]) if c.name in study.labels else f"{c.scale[0]} to {c.scale[1]}")
        for c in study.criteria
    ]
    return Result(
        data={"study": study.name, "kind": study.kind, "form": found.form, "ratings": found.n_ratings,
              "items": found.n_items, "raters": found.n_raters, "left_out": found.left_out, "new": found.is_new,
              "criteria": {c.name: {"scale": c.scale, "labels": study.labels.get(c.name)} for c in study.criteria}},
        shown=(Table(columns=("Criterion", "Scale"), rows=rows),),
        notes=(
            *(dim(f"left out: {n:,} ({why})") for why, n in found.left_out.items()),
            f"`screentest study status {study.name}` reads them; `screentest judge validate {study.name} --scores RUN` "
            "holds a judge to them.",
        ),
    )  # fmt: skip
