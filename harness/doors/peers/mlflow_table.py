"""MLflow: `eval_results_table.json` of `mlflow.evaluate`, or the `result_df` of `mlflow.genai.evaluate` as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.doors.peers.peer import (
    Aside,
    Peer,
    PeerRow,
    PeerRun,
    as_text,
    asked,
    canonical,
    facts_of,
    inner_json,
    read_json_file,
    read_json_rows,
)
from harness.errors import CorpusError

_OF = "an evaluation table of MLflow"
_IDS = ("client_request_id", "id", "question_id")
_ASKED = ("inputs", "request", "input", "question", "prompt", "messages")
_SAID = ("outputs", "response", "output", "predictions", "prediction", "answer")
_WANTED = (
    "targets", "target", "ground_truth", "expected_response", "expected_response/value",
    "expectations", "reference",
)  # fmt: skip
_SCORES = ("/value", "/score")
_MACHINERY = (
    "trace_id", "trace", "trace_metadata", "state", "request_time", "execution_duration", "spans", "assessments",
    "tags",
)  # fmt: skip


def _read(path: Path) -> list[PeerRun]:
    aside = Aside()
    lines = _lines(path)
    if not lines:
        raise CorpusError(path, f"must hold rows: {_OF} with none")
    told = [item for line in lines for item in line.get("assessments") or () if item.get("expectation")]
    expected = {f"{item['assessment_name']}/value" for item in told}
    measures = [key for key in lines[0] if key.endswith(_SCORES) and key not in expected]
    if not measures:
        # `mlflow.evaluate` names the columns of metrics freely; rationales are texts.
        known = (*_IDS, *_ASKED, *_SAID, *_WANTED, *_MACHINERY)
        measures = [k for k in lines[0] if k not in known and all(_is_score(line.get(k)) for line in lines)]
    columns = {role: next((k for k in keys if k in lines[0]), None) for role, keys in
               (("id", _IDS), ("asked", _ASKED), ("said", _SAID), ("wanted", _WANTED))}  # fmt: skip
    if columns["asked"] is None:
        raise CorpusError(path, f"must be {_OF}: no column is one of {', '.join(_ASKED)}")
    name = path.parent.name if path.stem in ("eval_results_table", "eval_results") else path.stem
    rows = tuple(_row(line, columns, measures, aside) for line in lines)
    return [PeerRun(name=name or path.stem, file=path, rows=rows, aside=aside.counts)]


def _row(line: Mapping[str, Any], columns: Mapping[str, str | None], measures: list[str], aside: Aside) -> PeerRow:
    taken = {role: None if key is None else _decoded(line.get(key)) for role, key in columns.items()}
    aside.keys(line, (*(key for key in columns.values() if key), *measures, *_MACHINERY))
    scores: dict[str, float | None] = {}
    for key in measures:
        name = key
        for end in _SCORES:
            name = name.removesuffix(end)
        aside.score(scores, name.removesuffix("/v1"), line.get(key))
    prompt = asked(_only(taken["asked"]))
    return PeerRow(
        id=None if taken["id"] is None else str(taken["id"]),
        question=canonical(taken["asked"]),
        prompt=prompt,
        reply=as_text(_only(taken["said"])),
        reference=as_text(_only(taken["wanted"])),
        scores=scores,
        facts=facts_of({k: v for k, v in line.items() if k not in (*measures, *_MACHINERY)}),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """Rows, whichever way pandas was asked to write them."""
    if path.suffix in (".jsonl", ".ndjson"):
        return list(read_json_rows(path, of=_OF))
    data = read_json_file(path, of=_OF)
    if isinstance(data, dict) and isinstance(data.get("columns"), list) and isinstance(data.get("data"), list):
        if any(not isinstance(row, list) or len(row) != len(data["columns"]) for row in data["data"]):
            raise CorpusError(path, f"must be {_OF}: a row has another number of values than there are columns")
        return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return data
    if isinstance(data, dict) and data and all(isinstance(column, dict) for column in data.values()):
        places = dict.fromkeys(place for column in data.values() for place in column)
        return [{name: column.get(place) for name, column in data.items()} for place in places]
    raise CorpusError(path, f"must be {_OF}: neither columns with data nor a list of rows")


def _decoded(value: Any) -> Any:
    """Requests and responses of traces are JSON within the JSON."""
    return inner_json(value) if isinstance(value, str) and value[:1] in ('"', "{", "[") else value


def _only(value: Any) -> Any:
    """What a dictionary of one value holds; the messages of a chat."""
    if isinstance(value, dict):
        return value["messages"] if "messages" in value else next(iter(value.values())) if len(value) == 1 else value
    return value


def _is_score(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


PEER = Peer(tool="MLflow", read=_read)
