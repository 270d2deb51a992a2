"""Scores made elsewhere: any metric's per-row values, checked and stored like our own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.artifacts import digest_file, read_parquet, write_parquet
from harness.errors import InputError
from harness.tracking import Stage, StageResult
from pipelines.session import OnProgress, Session

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
        InputError: file, line and reason: not JSON, a key that is lacking or unknown, a value that is no number, a row
            that stands twice, or an empty file.
    """
    if not path.is_file():
        raise InputError(f"`{path}` must be an existing JSONL file; there is none")
    scores: list[ImportedScore] = []
    seen: dict[tuple[str, str, int], int] = {}
    for number, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            score = _row(json.loads(text))
        except (json.JSONDecodeError, InputError) as err:
            raise InputError(f"`{path}` line {number}: {err}") from err
        key = (score.prompt_id, score.variant, score.draw)
        if key in seen:
            raise InputError(f"`{path}` line {number}: the same prompt, variant and draw as line {seen[key]}")
        seen[key] = number
        scores.append(score)
    if not scores:
        raise InputError(f"`{path}` must hold at least one row; it is empty")
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputError(f"`{path}` must be UTF-8, byte {err.start} is not; save it as UTF-8") from err


def _row(data: Any) -> ImportedScore:
    if not isinstance(data, dict):
        raise InputError(f"a row is an object with prompt_id, variant and value, got {type(data).__name__}")
    unknown, lacking = data.keys() - _KEYS, {"prompt_id", "variant", "value"} - data.keys()
    if unknown or lacking:
        what = f"unknown {sorted(unknown)}" if unknown else f"no {sorted(lacking)}"
        raise InputError(f"a row has the keys {', '.join(sorted(_KEYS))}; got {what}")
    value, draw, cluster = data["value"], data.get("draw", 0), data.get("cluster")
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    ):
        raise InputError(f"`value` must be a finite number or null for missing, got {value!r}")
    if isinstance(draw, bool) or not isinstance(draw, int) or draw < 0:
        raise InputError(f"`draw` must be 0, 1, …, got {draw!r}")
    for key in ("prompt_id", "variant"):
        if not isinstance(data[key], str) or not data[key]:
            raise InputError(f"`{key}` must be a text, got {data[key]!r}")
    if cluster is not None and not isinstance(cluster, str):
        raise InputError(f"`cluster` must be a text, got {cluster!r}")
    return ImportedScore(
        prompt_id=data["prompt_id"],
        variant=data["variant"],
        value=None if value is None else float(value),
        draw=draw,
        cluster=cluster,
    )
