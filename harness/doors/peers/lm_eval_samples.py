"""lm-evaluation-harness: `samples_TASK_DATE.jsonl` of `--log_samples`, or folders; those in one are of one model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.doors.peers.peer import (
    Aside,
    Figure,
    Peer,
    PeerRow,
    PeerRun,
    as_text,
    asked,
    canonical,
    facts_of,
    read_json_file,
    read_json_rows,
)
from harness.errors import CorpusError, InputError

_OF = "samples of lm-evaluation-harness"
_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_KNOWN = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
}  # fmt: skip
_LOWER = {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "ter", "brier_score", "wer", "cer"}


def _read(path: Path) -> list[PeerRun]:
    if path.is_dir():
        files = sorted(path.rglob("samples_*.jsonl"))
        if not files:
            raise InputError(f"`{path}` must hold samples_*.jsonl, as `lm_eval --log_samples` writes them; it has none")
        newest = {(file.parent, m["task"]): file for file in files if (m := _NAME.fullmatch(file.name))}
        return _join([_run(file) for file in newest.values() or files])
    return [_run(path)]


def _run(path: Path) -> PeerRun:
    named = _NAME.fullmatch(path.name)
    task = named["task"] if named else path.stem
    aside, lines = Aside(), list(read_json_rows(path, of=_OF))
    for number, line in enumerate(lines, start=1):
        if not {"doc_id", "doc", "arguments", "resps"} <= line.keys():
            raise CorpusError(
                path, f"must be {_OF}: a row has no `doc_id`, `doc`, `arguments` and `resps`", line=number
            )
    n_filters = len({line.get("filter") for line in lines})
    rows: dict[str, PeerRow] = {}
    for number, line in enumerate(lines, start=1):
        row = _row(line, task, aside, is_filter_named=n_filters > 1)
        if row.id in rows and rows[row.id].scores.keys() & row.scores.keys():
            raise CorpusError(
                path, f"a `doc_id` must stand once for each filter, got {line['doc_id']} again", line=number
            )
        known = rows.get(row.id or "")
        rows[row.id or ""] = row if known is None else replace(known, scores={**known.scores, **row.scores})
    results = _results(path, named["date"]) if named else {}
    less = {m for m, is_higher in ((results.get("higher_is_better") or {}).get(task) or {}).items() if not is_higher}
    measures = {m for row in rows.values() for m in row.scores}
    version = (results.get("versions") or {}).get(task)
    return PeerRun(
        name=str(results.get("model_name") or path.parent.name or path.stem),
        file=path,
        rows=tuple(rows.values()),
        version="" if version is None else f"task {task} {version}",
        figures=tuple(_figures((results.get("results") or {}).get(task) or {}, task)),
        lower=frozenset(m for m in measures if m.split(".")[0] in less | _LOWER),
        aside=aside.counts,
    )


def _row(line: Mapping[str, Any], task: str, aside: Aside, *, is_filter_named: bool) -> PeerRow:
    names = line.get("metrics") or [key for key in line if key not in _KNOWN]
    aside.keys(line, (*_KNOWN, *names))
    scores: dict[str, float | None] = {}
    for name in names:
        aside.score(scores, f"{name}.{line.get('filter')}" if is_filter_named else name, line.get(name))
    first = line["resps"][0] if line["resps"] else None
    said = first[0] if isinstance(first, list) and first and isinstance(first[0], str) else None
    doc = line["doc"] if isinstance(line["doc"], dict) else {}
    target = line.get("target")
    return PeerRow(
        id=f"{task}/{line['doc_id']}",
        question=canonical(line["doc"]),
        prompt=asked(_first_argument(line["arguments"])),
        reply=said,
        # A choice's number is no text that a reply could be compared with.
        reference=as_text(target) if said is not None and isinstance(target, str | list) else None,
        task=task,
        scores=scores,
        facts=facts_of(doc),
    )


def _first_argument(arguments: Any) -> object:
    first = next(iter(arguments.values()), None) if isinstance(arguments, dict) else (arguments or [None])[0]
    inner = next(iter(first.values()), None) if isinstance(first, dict) else first
    return inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], str) else inner


def _results(path: Path, date: str) -> dict[str, Any]:
    """What lies beside the samples: the model, its figures, which way its measures improve."""
    file = path.with_name(f"results_{date}.json")
    found = read_json_file(file, of="results of lm-evaluation-harness") if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def _figures(results: Mapping[str, Any], task: str) -> Iterable[Figure]:
    for key, value in results.items():
        name, _, kind = key.partition(",")
        if isinstance(value, int | float) and kind and not name.endswith("_stderr"):
            error = results.get(f"{name}_stderr,{kind}")
            yield Figure(
                measure=f"{task} {name}" if kind == "none" else f"{task} {name}.{kind}",
                value=value,
                error=error if isinstance(error, int | float) else None,
            )


def _join(runs: Sequence[PeerRun]) -> list[PeerRun]:
    """The tasks of one model, which lie in one folder, are one run."""
    by_folder: dict[tuple[Path, str], list[PeerRun]] = {}
    for run in runs:
        alone = run.file if _NAME.fullmatch(run.file.name) is None else run.file.parent
        by_folder.setdefault((alone, run.name), []).append(run)
    return [
        replace(
            parts[0],
            rows=tuple(row for part in parts for row in part.rows),
            version=", ".join(dict.fromkeys(part.version for part in parts if part.version)),
            figures=tuple(figure for part in parts for figure in part.figures),
            lower=frozenset().union(*(part.lower for part in parts)),
            aside={key: sum(p.aside.get(key, 0) for p in parts) for part in parts for key in part.aside},
        )
        for parts in by_folder.values()
    ]


PEER = Peer(tool="lm-evaluation-harness", read=_read, joins=_join)
