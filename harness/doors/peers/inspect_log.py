"""inspect_ai: an `.eval` archive or a `.json` log. Epochs are draws; C and I are 1 and 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.doors.files import ARCHIVE_FAULTS, archive_fault, open_archive, read_member
from harness.doors.peers.peer import (
    Aside,
    Figure,
    Peer,
    PeerRow,
    PeerRun,
    as_text,
    asked,
    facts_of,
    parse_peer_json,
    read_json_file,
    require,
    text_of,
)
from harness.errors import CorpusError, InputError
from harness.types import FinishReason

_OF = "a log of inspect_ai"
_VERSION = 2  # of the log format
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "max_tokens": "length", "model_length": "length", "content_filter": "refused",
}  # fmt: skip
_READ = ("id", "epoch", "input", "target", "output", "scores", "metadata", "error")
_MACHINERY = (
    "uuid", "messages", "events", "attachments", "store", "model_usage", "role_usage", "started_at", "completed_at",
    "total_time", "working_time", "setup", "files", "choices", "sandbox", "error_retries", "limit", "invalidation",
    "timelines", "events_data", "turn_count",
)  # fmt: skip


def _read(path: Path) -> list[PeerRun]:
    head, samples = _of_archive(path) if path.suffix == ".eval" else _of_json(path)
    version, ev = head.get("version"), require(head.get("eval"), dict, "`eval`", file=path, of=_OF)
    if version != _VERSION:
        raise CorpusError(path, f"must be a log of format {_VERSION}, got {version!r}: read it with its own inspect_ai")
    aside = Aside()
    rows = tuple(_row(sample, str(ev.get("task", "")), path, aside) for sample in samples)
    if not rows:
        raise CorpusError(path, f"must hold samples; this log has none (its run is `{head.get('status')}`)")
    status = head.get("status", "success")
    planned = ((head.get("results") or {}).get("total_samples")) or len(rows)
    notes = [f"`{path.name}`: its run ended as `{status}`, with {len(rows):,} samples in the log."]
    packages = {**(ev.get("packages") or {}), f"task {ev.get('task', '')}": ev.get("task_version", 0)}
    return [
        PeerRun(
            name=str(ev.get("model", "")),
            file=path,
            rows=rows,
            version=", ".join(f"{name} {said}" for name, said in packages.items()),
            figures=tuple(_figures(head.get("results") or {})),
            aside=aside.counts,
            notes=tuple(notes) if status != "success" or planned > len(rows) else (),
        )
    ]


def _of_archive(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"`{path}` must be an existing file of {_OF}; there is none")
    with open_archive(path) as archive:
        names = set(archive.namelist())

        def read(name: str) -> dict[str, Any]:
            try:
                data = read_member(archive, name)
            except ARCHIVE_FAULTS as err:
                raise CorpusError(path, f"`{name}` cannot be read: {archive_fault(err)}") from err
            inner = parse_peer_json(data, file=path / name, of=_OF)
            found: dict[str, Any] = require(inner, dict, "object", file=path / name, of=_OF)
            return found

        head = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
        if head is None:
            raise CorpusError(path, f"must be {_OF}: the archive has no header.json")
        begun = {} if head == "header.json" else {"status": "started"}  # killed before it could write the header
        samples = sorted(name for name in names if name.startswith("samples/") and name.endswith(".json"))
        return begun | read(head), [read(name) for name in samples]


def _of_json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    log = require(read_json_file(path, of=_OF), dict, "object", file=path, of=_OF)
    return log, require(log.get("samples") or [], list, "`samples`", file=path, of=_OF)


def _row(sample: Mapping[str, Any], task: str, path: Path, aside: Aside) -> PeerRow:
    aside.keys(sample, (*_READ, *_MACHINERY))
    if "id" not in sample or "input" not in sample:
        raise CorpusError(path, f"must be {_OF}: a sample has no `id` and `input`")
    kept = sample.get("attachments") or {}
    prompt, output = asked(_attached(sample["input"], kept)), sample.get("output") or {}
    scores: dict[str, float | None] = {}
    for name, score in (sample.get("scores") or {}).items():
        value = score.get("value") if isinstance(score, dict) else None
        for key, one in value.items() if isinstance(value, dict) else [("", value)]:
            aside.score(scores, f"{name}.{key}" if key else name, one)
    choice = (output.get("choices") or [{}])[0]
    said = choice.get("message", {}).get("content", output.get("completion"))
    failed = sample.get("error") is not None
    return PeerRow(
        id=str(sample["id"]),
        draw=int(sample.get("epoch", 1)) - 1,
        question=prompt if isinstance(prompt, str) else "\n".join(m.content for m in prompt),
        prompt=prompt,
        reply=None if said is None or failed else text_of(_attached(said, kept)),
        finish="error" if failed else _FINISH.get(choice.get("stop_reason", ""), "unknown"),
        reference=as_text(sample.get("target")) or None,
        task=task,
        scores=dict.fromkeys(scores) if failed else scores,
        facts=facts_of(sample.get("metadata") or {}),
    )


def _attached(value: Any, kept: Mapping[str, str]) -> Any:
    """Long texts stand apart in the log, named by digest."""
    if isinstance(value, str):
        return kept.get(value.removeprefix("attachment://"), value) if value.startswith("attachment://") else value
    if isinstance(value, list):
        return [_attached(item, kept) for item in value]
    return {key: _attached(inner, kept) for key, inner in value.items()} if isinstance(value, dict) else value


def _figures(results: Mapping[str, Any]) -> Iterable[Figure]:
    for score in results.get("scores") or ():
        metrics = {name: m.get("value") for name, m in (score.get("metrics") or {}).items()}
        error = metrics.get("stderr")
        for name, value in metrics.items():
            if isinstance(value, int | float) and name not in ("stderr", "std", "var"):
                yield Figure(measure=f"{score.get('name', '')} {name}", value=value, error=error)


PEER = Peer(tool="inspect_ai", read=_read)
