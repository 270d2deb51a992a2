"""promptfoo: the JSON of `promptfoo eval -o out.json`; each provider with each prompt is one run."""

from __future__ import annotations

from collections.abc import Mapping
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
    require,
)
from harness.errors import CorpusError
from harness.types import FinishReason

_OF = "output of `promptfoo eval -o out.json`"
_VERSIONS = (2, 3)  # of the results
_ERRORED = 2  # `failureReason` of a row whose provider or assertion broke
_FINISH: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "refused"}
_READ = (
    "promptIdx", "testIdx", "vars", "prompt", "provider", "response", "success", "score", "namedScores", "error",
    "failureReason", "testCase", "gradingResult",
)  # fmt: skip
_MACHINERY = ("id", "promptId", "latencyMs", "cost", "metadata", "tokenUsage", "description")


def _read(path: Path) -> list[PeerRun]:
    data = require(read_json_file(path, of=_OF), dict, "object", file=path, of=_OF)
    held = require(data.get("results"), dict, "`results`", file=path, of=_OF)
    if held.get("version") not in _VERSIONS:
        got = held.get("version")
        raise CorpusError(path, f"must be {_OF} with results of version 2 or 3, got {got!r}: export it again")
    lines = require(held.get("results"), list, "`results.results`", file=path, of=_OF)
    if not lines:
        raise CorpusError(path, f"must hold results: {_OF} with none in it")
    found: dict[tuple[str, int], tuple[dict[str, list[PeerRow]], Aside]] = {}
    for line in lines:
        if not isinstance(line, dict) or not {"testIdx", "provider", "success"} <= line.keys():
            raise CorpusError(path, f"must be {_OF}: a result has no `testIdx`, `provider` and `success`")
        rows, aside = found.setdefault((_provider(line), int(line.get("promptIdx", 0))), ({}, Aside()))
        row, test = _row(line, aside), line.get("testCase") or {}
        # `--repeat` asks a test again, under a number of its own.
        again = rows.setdefault(canonical([row.question, test.get("assert")]), [])
        again.append(replace(row, id=again[0].id if again else row.id, draw=len(again)))
    return [
        PeerRun(
            name=_name(provider, place, held, is_alone=sum(p == provider for p, _ in found) == 1),
            file=path,
            rows=tuple(row for again in rows.values() for row in again),
            version=f"promptfoo {(data.get('metadata') or {}).get('promptfooVersion', 'of unknown version')}",
            figures=(_pass_rate([row for again in rows.values() for row in again]),),
            aside=aside.counts,
        )
        for (provider, place), (rows, aside) in found.items()
    ]


def _row(line: Mapping[str, Any], aside: Aside) -> PeerRow:
    aside.keys(line, (*_READ, *_MACHINERY))
    is_broken = line.get("failureReason") == _ERRORED
    response = line.get("response") or {}
    said = as_text(response.get("output")) if response else None
    values = {"pass": line["success"], "score": line.get("score"), **(line.get("namedScores") or {})}
    scores: dict[str, float | None] = {}
    for name, value in values.items():
        aside.score(scores, name, None if is_broken else value)
    variables, prompt = line.get("vars") or {}, (line.get("prompt") or {}).get("raw", "")
    test = line.get("testCase") or {}
    wanted = [a.get("value") for a in test.get("assert") or () if a.get("type") in ("equals", "icontains", "contains")]
    return PeerRow(
        id=str(line["testIdx"]),
        question=canonical(variables) if variables else prompt,
        prompt=asked(prompt),
        reply=None if is_broken else said,
        finish="error" if is_broken else _FINISH.get(response.get("finishReason", ""), "unknown"),
        reference=wanted[0] if len(wanted) == 1 and isinstance(wanted[0], str) else None,
        scores=scores,
        facts=facts_of({**(test.get("metadata") or {}), **variables}),
    )


def _provider(line: Mapping[str, Any]) -> str:
    provider = line["provider"]
    return str(provider.get("label") or provider.get("id")) if isinstance(provider, dict) else str(provider)


def _name(provider: str, place: int, held: Mapping[str, Any], *, is_alone: bool) -> str:
    return provider if is_alone else f"{provider} prompt {place + 1}"


def _pass_rate(rows: list[PeerRow]) -> Figure:
    """As promptfoo shows it: what broke has not passed."""
    return Figure(measure="pass rate", value=sum(row.scores.get("pass") or 0 for row in rows) / len(rows), error=None)


PEER = Peer(tool="promptfoo", read=_read)
