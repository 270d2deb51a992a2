"""A study as a folder for a paper: methods and results, votes, declaration. No link, no token, no rater's own name."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from harness.errors import ConfigError
from harness.reporting import study_text
from harness.store.artifacts import write_json
from harness.studies.exports import RatingRow, rating_rows
from harness.studies.results import StudyResults, study_results
from harness.studies.studies import Study

METHODS, RATINGS, DECLARATION = "methods.md", "ratings.csv", "declaration.json"
_HEAD = ("rater", "kind", "prompt_id", "cluster", "left", "right", "verdict", "marks", "reason", "comment", "seconds")


def publish(engine: Engine, study: Study, folder: Path) -> int:
    """Write the folder; returns how many ratings are in it.

    Raises:
        SplitError: the prompts are of TRAIN.
        ConfigError: `folder` is a file.
    """
    rows = [row for row in rating_rows(engine, study) if not row.is_rehearsal and not row.is_excluded]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as err:
        raise ConfigError(f"`--out` must name a folder for --format publication, got the file {folder}") from err
    (folder / METHODS).write_text(methods_page(study_results(engine, study)), encoding="utf-8")
    _write_ratings(folder / RATINGS, rows)
    declared = study.design.model_dump(mode="json", by_alias=True)
    declared["panel"].pop("names", None)
    write_json(folder / DECLARATION, {"digest": study.declaration, "design": declared})
    return len(rows)


def methods_page(found: StudyResults) -> str:
    """Methods, the sentences, and the table, in Markdown."""
    lines = ["# Methods", "", study_text.methods(found), "", "# Results", ""]
    for pair in found.pairs:
        told = (
            [study_text.preferred(pair), study_text.mean_vote(pair)]
            if pair.tally.prompts
            else [study_text.waiting(pair)]
        )
        lines += [" ".join(told), ""]
    lines += [study_text.marked(of.criterion, a, b, c) + "\n" for of in found.marks for a, b, c in of.contrasts]
    cells = [
        f"| {what} | {written.amount} | {written.interval} | {written.level} | {written.rows} |"
        for pair in found.pairs
        for what, written in study_text.figure_rows(pair)
    ]
    if cells:
        lines += ["| | value | interval | level | rests on |", "|---|---|---|---|---|", *cells, ""]
    return "\n".join(lines)


def _write_ratings(path: Path, rows: Sequence[RatingRow]) -> None:
    """Raters by number, in the order of their first rating."""
    rows = sorted(rows, key=lambda row: (row.cast_at, row.slot))
    numbers = {name: f"rater-{i}" for i, name in enumerate(dict.fromkeys(r.rater for r in rows), start=1)}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEAD)
        for row in rows:
            marks = ";".join(f"{name}={mark}" for name, mark in sorted(row.marks.items()))
            said = (row.verdict or "", marks, row.reason, row.comment, f"{row.cast_at - row.shown_at:.1f}")
            writer.writerow(
                [numbers[row.rater], row.kind, row.prompt_id, row.cluster, row.left, row.right or "", *said]
            )
