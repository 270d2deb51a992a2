"""OpenAI's evals: the JSONL log of `oaieval`, with its events of matches, metrics and sampling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.doors.peers.peer import Aside, Figure, Peer, PeerRow, PeerRun, as_text, asked, read_json_rows, require
from harness.errors import CorpusError

_OF = "a log of `oaieval`"


def _read(path: Path) -> list[PeerRun]:
    spec: dict[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    events: dict[str, list[dict[str, Any]]] = {}
    aside = Aside()
    for line in read_json_rows(path, of=_OF):
        if "spec" in line:
            if spec is not None:
                raise CorpusError(path, f"must hold one run: {_OF} with two specs")
            spec = line["spec"]
        elif "final_report" in line:
            report = line["final_report"]
        elif line.get("sample_id") is not None:
            events.setdefault(str(line["sample_id"]), []).append(line)
        else:
            aside.counts["events of no sample"] += 1
    said: dict[str, Any] = require(spec, dict, "`spec` in its first line", file=path, of=_OF)
    if not events:
        raise CorpusError(path, f"must hold events of samples: {_OF} with none")
    rows = tuple(_row(key, found, said, aside) for key, found in events.items())
    names = said.get("completion_fns") or [path.stem]
    unfinished = f"`{path.name}`: it has no final report, so the run may not have ended ({len(rows):,} samples)."
    return [
        PeerRun(
            name="+".join(map(str, names)),
            file=path,
            rows=rows,
            version=f"eval {said.get('eval_name', '')}",
            figures=tuple(_figures(report or {})),
            aside=aside.counts,
            notes=() if report is not None else (unfinished,),
        )
    ]


def _row(key: str, events: list[dict[str, Any]], spec: Mapping[str, Any], aside: Aside) -> PeerRow:
    scores: dict[str, float | None] = {}
    prompt: object = None
    said: str | None = None
    reference: str | None = None
    for event in events:
        kind, data = event.get("type"), event.get("data") or {}
        if kind == "match":
            aside.score(scores, "correct", data.get("correct"))
            reference = as_text(data.get("expected"))
        elif kind == "metrics":
            for name, value in data.items():
                aside.score(scores, name, value)
        elif kind == "sampling" and prompt is None:
            prompt, said = data.get("prompt"), as_text(data.get("sampled"))
        else:
            aside.counts[f"`{kind}` events"] += 1
    shown = asked(prompt)
    return PeerRow(
        id=key,
        question=shown if isinstance(shown, str) else "\n".join(m.content for m in shown),
        prompt=shown,
        reply=said,
        reference=reference,
        task=str(spec.get("base_eval") or ""),
        scores=scores,
    )


def _figures(report: Mapping[str, Any]) -> list[Figure]:
    # The name is theirs: the standard deviation of the mean over resamples.
    error = report.get("boostrap_std", report.get("bootstrap_std"))
    return [
        Figure(measure=name, value=value, error=error if name == "accuracy" else None)
        for name, value in report.items()
        if isinstance(value, int | float) and not name.endswith("_std") and not name.startswith("usage_")
    ]


PEER = Peer(tool="OpenAI evals", read=_read)
