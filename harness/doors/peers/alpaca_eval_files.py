"""alpaca_eval: `annotations.json`, whose preferences of a model over a reference become win rates; or model outputs.

A preference is 1 where the reference wins and 2 where the model does, 0 or 1.5 a draw. With one file the model is
compared with its reference; with several, the models with one another, each by how often it beat the same reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from harness.doors.peers.peer import Aside, Figure, Peer, PeerRow, PeerRun, facts_of, read_json_file, require
from harness.errors import CorpusError

_OF = "annotations.json or outputs of alpaca_eval"
WINS = "win_rate"
_READ = (
    "instruction", "output", "generator", "dataset", "output_1", "output_2", "generator_1", "generator_2", "preference",
    "input", "annotator",
)  # fmt: skip
_MACHINERY = ("price_per_example", "time_per_example", "raw_completion", "referenced_models", "datasplit", "index")


def _read(path: Path) -> list[PeerRun]:
    rows = require(read_json_file(path, of=_OF), list, "list of rows", file=path, of=_OF)
    if not rows:
        raise CorpusError(path, f"must hold rows: {_OF} with none")
    found: dict[str, list[PeerRow]] = {}
    references: dict[str, list[PeerRow]] = {}
    aside = Aside()
    for row in rows:
        if not isinstance(row, dict) or "instruction" not in row or not ({"output", "output_2"} & row.keys()):
            raise CorpusError(path, f"must be {_OF}: a row has no `instruction` and `output`")
        aside.keys(row, (*_READ, *_MACHINERY, *(key for key in row if key.startswith("preference_"))))
        if "output_2" not in row:
            found.setdefault(str(row.get("generator", path.stem)), []).append(_row(row, row["output"], {}))
            continue
        wins = _share(row.get("preference"), path)
        ours, theirs = str(row.get("generator_2", path.parent.name)), str(row.get("generator_1", "reference"))
        found.setdefault(ours, []).append(_row(row, row["output_2"], {WINS: wins}))
        lost = None if wins is None else 1 - wins
        references.setdefault(theirs, []).append(_row(row, row.get("output_1"), {WINS: lost}))
    made = [_run(name, path, given, aside) for name, given in found.items()]
    if len(found) > 1:  # each was judged on every instruction: the reference stands there as often
        references = {}
    return [*(_run(name, path, given, Aside(), True) for name, given in references.items()), *made]


def _run(name: str, path: Path, rows: list[PeerRow], aside: Aside, is_reference: bool = False) -> PeerRun:
    values = [value for row in rows if (value := row.scores.get(WINS)) is not None]
    figures: tuple[Figure, ...] = ()
    if values and not is_reference:
        error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        figures = (Figure(measure="win rate", value=fmean(values), error=error),)
    return PeerRun(
        name=name, file=path, rows=tuple(rows), figures=figures, aside=aside.counts, is_reference=is_reference
    )


def _row(row: Mapping[str, Any], said: object, scores: dict[str, float | None]) -> PeerRow:
    question = "\n\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key))
    return PeerRow(
        id=None,
        question=question,
        prompt=question,
        reply=said if isinstance(said, str) else None,
        task=str(row["dataset"]) if row.get("dataset") else None,
        scores=scores,
        facts=facts_of({key: row[key] for key in ("dataset",) if key in row}),
    )


def _share(preference: object, path: Path) -> float | None:
    if preference is None:
        return None
    if preference in (0, 0.0):
        return 0.5
    if isinstance(preference, bool) or not isinstance(preference, int | float) or not 1 <= preference <= 2:
        raise CorpusError(path, f"`preference` must lie from 1 to 2, or be 0 for a draw, got {preference!r}")
    return preference - 1


PEER = Peer(tool="alpaca_eval", read=_read)
