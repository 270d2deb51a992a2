"""Runs of other tools on the same questions: which row of one is which row of another, and what has no counterpart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.doors.peers.peer import PeerRow, PeerRun
from harness.doors.text import is_absent, shown
from harness.errors import InputError
from harness.experiment.recordings import named_few

By = Literal["auto", "id", "text"]
Key = Callable[[PeerRow], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Questions by prompt id, each with the rows of every run that has it."""

    by: Literal["id", "text"]
    rows: Mapping[str, Mapping[str, Sequence[PeerRow]]]  # prompt id → run → its draws
    n_shared: int  # questions that every run has
    notes: tuple[str, ...]  # what did not match, a sentence each

    def shared(self) -> Matched:
        """The questions that every run has."""
        n_runs = max(map(len, self.rows.values()))
        kept = {key: found for key, found in self.rows.items() if len(found) == n_runs}
        return Matched(by=self.by, rows=kept, n_shared=self.n_shared, notes=self.notes)


def match(runs: Mapping[str, PeerRun], *, by: By = "auto") -> Matched:
    """The rows of several runs, put together by the tool's ids, or by the text of the question where ids do not tell.

    Args:
        by: `auto` takes ids where they stand for the same questions in all runs, else the questions' texts.

    Raises:
        InputError: a row stands twice, or no question is in all runs.
    """
    ids = _places(runs, lambda row: None if is_absent(row.id) else row.id)
    texts = _places(runs, lambda row: row.question.strip() or None)
    odd = _of_other_questions(ids)
    n_ids, n_texts = (sum(len(by_run) == len(runs) for by_run in found.values()) for found in (ids, texts))
    is_by_text = by == "text" or (by == "auto" and (n_ids == 0 or odd) and n_texts > n_ids - len(odd))
    chosen: Literal["id", "text"] = "text" if is_by_text else "id"
    found, n_shared = (texts, n_texts) if is_by_text else (ids, n_ids)
    if odd and chosen == "id" and by == "auto":
        first, second = (shown(rows[0].question) for rows in list(ids[odd[0]].values())[:2])
        raise InputError(
            f"runs that are compared must be on the same data, got different questions under {len(odd):,} of "
            f"{len(ids):,} ids (`{odd[0]}`: {first} and {second}): run them on the same data, or say `--match id` if "
            "ids tell the truth"
        )
    for key, by_run in found.items():
        for name, rows in by_run.items():
            if len({row.draw for row in rows}) < len(rows):
                what = f"id `{key}`" if chosen == "id" else f"question {shown(rows[0].question)}"
                raise InputError(f"`{runs[name].file.name}`: each row must stand once, got the {what} twice")
    if not n_shared:
        examples = " and ".join(f"`{_example(run, chosen)}` in {name}" for name, run in list(runs.items())[:2])
        raise InputError(f"runs that are compared must share questions, got none in all {len(runs)} (e.g. {examples})")
    rows_by_id = {key if chosen == "id" else _digest(key): by_run for key, by_run in found.items()}
    return Matched(by=chosen, rows=rows_by_id, n_shared=n_shared, notes=tuple(_unmatched(rows_by_id, runs)))


def _places(runs: Mapping[str, PeerRun], key: Key) -> dict[str, dict[str, list[PeerRow]]]:
    found: dict[str, dict[str, list[PeerRow]]] = {}
    for name, run in runs.items():
        for row in run.rows:
            if (place := key(row)) is not None:
                found.setdefault(place, {}).setdefault(name, []).append(row)
    return found


def _of_other_questions(ids: Mapping[str, Mapping[str, Sequence[PeerRow]]]) -> list[str]:
    """Ids that stand for different questions in different runs; a run that does not tell its question fits any."""
    return [
        key
        for key, by_run in ids.items()
        if len({text for rows in by_run.values() for row in rows if (text := row.question.strip())}) > 1
    ]


def _unmatched(found: Mapping[str, Mapping[str, Sequence[PeerRow]]], runs: Mapping[str, PeerRun]) -> list[str]:
    said = []
    for name in runs:
        own = [key for key, by_run in found.items() if name in by_run]
        if lonely := [key for key in own if len(found[key]) < len(runs)]:
            said.append(
                f"{len(lonely):,} of {len(own):,} questions of {name} are not in all runs ({named_few(lonely)})."
            )
    return said


def _example(run: PeerRun, by: Literal["id", "text"]) -> str:
    row = run.rows[0]
    return (row.id or "") if by == "id" and row.id else row.question[:40]


def _digest(question: str) -> str:
    return "q-" + hashlib.sha256(question.encode()).hexdigest()[:16]
