"""Data lineage of a reported number: the files and rows under it, checked against the recorded digests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.reporting.finding_index import index
from harness.reporting.finished_reports import record_of
from harness.store.artifacts import digest_file

if TYPE_CHECKING:
    from harness.store.tracking import Tracking
    from harness.types import Source

MAX_ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedSource:
    """One file under a number."""

    run_id: str
    stage: str
    artifact: str
    where: Mapping[str, str]
    digest: str  # as recorded
    is_intact: bool  # the file still has this digest
    fingerprint: str
    inputs: Mapping[str, str]  # name -> digest of what the stage was given
    git_commit: str
    n_rows: int
    rows: tuple[Mapping[str, Any], ...]  # the first of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A number and everything under it."""

    key: str
    written: str  # the number as the report prints it
    basis: str  # n, films, missing
    method: str
    sources: tuple[TracedSource, ...]


def walk(tracking: Tracking, run_id: str, key: str) -> Walk:
    """Trace one number.

    Raises InputError: no such run, or no such number in its report; the message lists those there are.
    """
    found = index(record_of(tracking, run_id))
    finding = found.find(key)
    written = found.write(finding)
    return Walk(
        key=key,
        written=written.effect,
        basis=written.basis,
        method=finding.estimate.method,
        sources=tuple(_trace(tracking, source) for source in finding.sources),
    )


def _trace(tracking: Tracking, source: Source) -> TracedSource:
    info = tracking.run(source.run_id)
    path = tracking.folder(source.run_id) / source.artifact
    rows = _rows(path, source.where) if path.is_file() else []
    return TracedSource(
        run_id=source.run_id,
        stage=info.stage,
        artifact=source.artifact,
        where=dict(source.where),
        digest=source.digest,
        is_intact=path.is_file() and digest_file(path) == source.digest,
        fingerprint=info.tags.get("fingerprint", ""),
        inputs=json.loads(info.tags.get("inputs", "{}")),
        git_commit=info.tags.get("git_commit", "unknown"),
        n_rows=len(rows),
        rows=tuple(rows[:MAX_ROWS]),
    )


def _rows(path: Any, where: Mapping[str, str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    filters = [(column, "=", value) for column, value in where.items()] or None
    return list(pq.read_table(path, filters=filters).to_pylist())
