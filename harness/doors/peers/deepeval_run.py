"""deepeval: `test_run_*.json` of its results folder, or `.deepeval/.latest_run_full.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.doors.peers.peer import (
    Aside,
    Figure,
    Peer,
    PeerRow,
    PeerRun,
    facts_of,
    measure_name,
    read_json_file,
    require,
)
from harness.errors import CorpusError

_OF = "a test run of deepeval"
_READ = ("name", "input", "actualOutput", "expectedOutput", "success", "metricsData", "metadata", "order", "tags")
_MACHINERY = (
    "runDuration", "evaluationCost", "flaky", "context", "retrievalContext", "toolsCalled", "expectedTools", "trace",
    "tokenCost", "completionTime", "inputTokenCount", "outputTokenCount", "comments", "imagesMapping",
)  # fmt: skip


def _read(path: Path) -> list[PeerRun]:
    run = require(read_json_file(path, of=_OF), dict, "object", file=path, of=_OF)
    run = run.get("testRunData", run)
    cases = require(run.get("testCases"), list, "`testCases`", file=path, of=_OF)
    aside = Aside()
    if chats := run.get("conversationalTestCases"):
        aside.counts["conversations, which have no single reply"] += len(chats)
    if not cases:
        raise CorpusError(path, f"must hold test cases with a single reply: {_OF} with none of them")
    rows = tuple(_row(case, path, aside) for case in cases)
    said = run.get("hyperparameters") or {}
    model = next((said[key] for key in ("model", "Model", "llm") if isinstance(said.get(key), str)), None)
    return [
        PeerRun(
            name=str(run.get("identifier") or model or path.stem),
            file=path,
            rows=rows,
            figures=tuple(_figures(run.get("metricsScores") or ())),
            lower=frozenset(_of_which_less_is_better(cases)),
            aside=aside.counts,
        )
    ]


def _row(case: Any, path: Path, aside: Aside) -> PeerRow:
    if not isinstance(case, dict) or "input" not in case:
        raise CorpusError(path, f"must be {_OF}: a test case has no `input`")
    aside.keys(case, (*_READ, *_MACHINERY))
    scores: dict[str, float | None] = {}
    for metric in case.get("metricsData") or ():
        aside.score(scores, metric["name"], None if metric.get("error") else metric.get("score"))
    aside.score(scores, "pass", case.get("success"))
    return PeerRow(
        # Cases are named test_case_0, … unless their author names them.
        id=None if case.get("name") is None else str(case["name"]),
        question=str(case["input"]),
        prompt=str(case["input"]),
        reply=case.get("actualOutput"),
        reference=case.get("expectedOutput"),
        scores=scores,
        facts=facts_of(case.get("metadata") or {}),
    )


def _of_which_less_is_better(cases: list[Mapping[str, Any]]) -> set[str]:
    """Metrics that pass below their threshold, such as bias and toxicity: the file tells by what it let pass."""
    found: dict[str, list[bool]] = {}
    for metric in (m for case in cases for m in case.get("metricsData") or ()):
        score, threshold, passed = metric.get("score"), metric.get("threshold"), metric.get("success")
        if score is not None and threshold is not None and passed is not None and score != threshold:
            found.setdefault(measure_name(metric["name"]), []).append(passed == (score < threshold))
    return {name for name, said in found.items() if all(said)}


def _figures(scores: Any) -> list[Figure]:
    found = []
    for metric in scores:
        n = metric.get("passes", 0) + metric.get("fails", 0)
        if n:
            found.append(Figure(measure=f"{metric['metric']} pass rate", value=metric["passes"] / n, error=None))
    return found


PEER = Peer(tool="deepeval", read=_read)
