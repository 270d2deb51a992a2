"""Scores made elsewhere: any metric's per-row values, checked and stored like our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.doors.files import MAX_DRAW, read_rows
from harness.doors.text import read_id, require_id, shown
from harness.errors import CorpusError, InputError
from harness.experiment.session import OnProgress, Session
from harness.store.artifacts import digest_file, read_parquet, write_parquet
from harness.store.tracking import Stage, StageResult

REVISION = 1
SCORES_FILE = "imported_scores.parquet"
_KEYS = {"prompt_id", "variant", "value", "draw", "cluster"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedScore:
    """One value of somebody's metric for one reply."""

    prompt_id: str
    variant: str
    value: float | None  # None is missing: never 0
    draw: int
    cluster: str | None  # None: the prompt's own


def read_imported(path: Path) -> list[ImportedScore]:
    """Rows of a JSONL file with `prompt_id`, `variant`, `value` (null is missing), and `draw` and `cluster` if any.

    Raises:
        InputError: there is no such file.
        CorpusError: file, line and reason: not JSON, a key that is lacking or unknown, a value that is no number, a
            row that stands twice, or an empty file.
    """
    scores: list[ImportedScore] = []
    seen: dict[tuple[str, str, int], int] = {}
    for row in read_rows(path, of="scores"):
        try:
            score = _score(row.value)
        except InputError as err:
            raise CorpusError(path, str(err), line=row.number) from err
        key = (score.prompt_id, score.variant, score.draw)
        if key in seen:
            raise CorpusError(path, f"the same prompt, variant and draw as line {seen[key]}", line=row.number)
        seen[key] = row.number
        scores.append(score)
    return scores


def import_stage(session: Session, path: Path, *, measure: str) -> StageResult:
    """Store imported scores as a stage run whose id an experiment names under `scores:`."""
    scores = read_imported(path)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        write_parquet(stage.folder / SCORES_FILE, scores, ImportedScore)
        stage.set_tag("measure", measure)
        stage.log_metric("rows", len(scores))
        stage.log_metric("missing", sum(score.value is None for score in scores))

    return session.stage(
        "scores",
        label="Import scores",
        revision=REVISION,
        config={"measure": measure},
        inputs={"file": digest_file(path)},
        work=work,
        adopt=True,
    )


def read_scores(folder: Path) -> list[ImportedScore]:
    """The rows that `import_stage` stored."""
    return read_parquet(folder / SCORES_FILE, ImportedScore)


def _score(data: Mapping[str, Any]) -> ImportedScore:
    unknown, lacking = data.keys() - _KEYS, {"prompt_id", "variant", "value"} - data.keys()
    if unknown or lacking:
        what = f"unknown {sorted(unknown)}" if unknown else f"no {sorted(lacking)}"
        raise InputError(f"a row has the keys {', '.join(sorted(_KEYS))}; got {what}")
    value, draw = data["value"], 0 if data.get("draw") is None else data["draw"]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"`value` must be a finite number or null for missing, got {shown(value)}")
    if isinstance(draw, bool) or not isinstance(draw, int) or not 0 <= draw <= MAX_DRAW:
        raise InputError(f"`draw` must be 0, 1, … {MAX_DRAW:,}, got {shown(draw)}")
    return ImportedScore(
        prompt_id=require_id(data, "prompt_id"),
        variant=require_id(data, "variant"),
        value=None if value is None else float(value),
        draw=draw,
        cluster=read_id(data.get("cluster"), "cluster"),
    )
