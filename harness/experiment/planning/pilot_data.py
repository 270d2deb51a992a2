"""Pilot data for planning: paired differences from a file of scores, votes or ratings, or from a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.doors.files import read_rows
from harness.doors.text import read_id, require_id, shown_keys
from harness.errors import CorpusError, InputError
from harness.experiment.analysis.contrasts import MeasuredArm
from harness.experiment.analysis.seeded import SeededArm, paired_rows
from harness.experiment.analysis.values import Differences, Row, Rows, pair, per_prompt
from harness.experiment.imported_scores import read_imported
from harness.experiment.measured_arms import rows_of_source
from harness.reporting.finished_reports import record_of
from harness.stats import read_votes
from harness.store.artifacts import from_json
from harness.studies.exports import RatingRow

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord
    from harness.store.tracking import Tracking
    from harness.types import Source

VOTE_KEYS = {"prompt_id", "left", "right", "winner", "cluster", "rater"}
_NAMES = ("prompt_id", "cluster", "left", "right", "rater")  # of a rating, that may be written as whole numbers
POINTS = (1.0, 0.0, 0.5, 0.5)  # of the left side for left, right, tie, both bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """Differences treatment − control with the films that they come from: one a prompt, or one a seed and prompt."""

    rows: Differences
    treatment: str
    control: str
    unit: str  # what a difference is in, as said to a person


def read_pilot_file(path: Path, *, treatment: str | None, control: str | None) -> Pilot:
    """JSONL of scores (`prompt_id`, `variant`, `value`) or of votes (`prompt_id`, `left`, `right`, `winner`).

    Votes may also be ratings as `study export` writes them. A row without `cluster` is a film of its own.

    Raises InputError: neither kind of file, a bad row, or variants that it does not hold.
    """
    first = next(read_rows(path, of="scores or votes")).value
    if "verdict" in first:
        rows, asked = _exported_rows(path)
        return _from_votes(path, rows, asked=asked, treatment=treatment, control=control)
    if "winner" in first:
        return _from_votes(path, _vote_rows(path), asked=(), treatment=treatment, control=control)
    if "value" in first:
        return _from_scores(path, treatment=treatment, control=control)
    raise InputError(f"`{path}` line 1: a row holds `value` (scores) or `winner` (votes), got {shown_keys(first)}")


def read_pilot_run(
    tracking: Tracking, run: str, *, measure: str | None, treatment: str | None, control: str | None
) -> Pilot:
    """One measure of a finished evaluation, from the rows under its numbers.

    Raises InputError: no such run, measure or variant; the message lists those there are.
    """
    record = record_of(tracking, run)
    sides = _sides(record, measure=measure, treatment=treatment, control=control)
    if any(len(side.sources) > 1 for side in sides):
        raise InputError(f"`{run}` must have one training an arm, got several seeds: use `screentest power seeds`")
    rows = paired_rows(*(_arm(tracking, side, seeds=(0,)) for side in sides))
    return _pilot(rows, sides[0].variant, sides[1].variant, unit=_unit(record, sides[0].measure))


def read_seed_pilot(
    tracking: Tracking, run: str, *, measure: str | None, treatment: str | None, control: str | None
) -> Pilot:
    """One measure of two arms of a finished ablation over seeds, paired within each seed.

    Raises InputError: no such run, measure or arm, no ablation over seeds, or an arm that lost a training.
    """
    record = record_of(tracking, run)
    seeds = () if record.ablation is None else record.ablation.seeds
    if record.ablation is None or len(seeds) < 2:
        raise InputError(
            f"`{run}` must be an ablation over several seeds, got {len(seeds) or 'none'}: give another run"
        )
    sides = _sides(record, measure=measure, treatment=treatment, control=control)
    n_lost = {arm.name: arm.n_lost for arm in record.ablation.arms}
    for side in sides:
        n = n_lost[side.variant]
        if n or len(side.sources) not in (1, len(seeds)):
            raise InputError(f"`{side.variant}` must have come through with every seed, {n} failed: take another arm")
    rows = paired_rows(*(_arm(tracking, side, seeds=seeds) for side in sides))
    if rows is None or not rows.is_crossed or not len(rows):
        raise InputError(f"`{sides[0].variant}` and `{sides[1].variant}` must differ in a training and share prompts")
    return _pilot(rows, sides[0].variant, sides[1].variant, unit=_unit(record, sides[0].measure))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """Where the rows of one measure of a variant stand: a place for each training."""

    measure: str
    variant: str
    sources: tuple[Source, ...]


def _sides(
    record: ReportRecord, *, measure: str | None, treatment: str | None, control: str | None
) -> tuple[_Side, _Side]:
    sources = {(f.name, f.variant): f.sources for f in record.findings if f.variant is not None and f.sources}
    names = list(dict.fromkeys(name for name, _ in sources))
    if measure is None or measure not in names:
        raise InputError(f"`--measure` must be one of {', '.join(names)}, got {measure}")
    variants = [variant for name, variant in sources if name == measure and variant is not None]
    first, second = (
        _Side(measure=measure, variant=variant, sources=sources[measure, variant])
        for variant in _two_of(variants, treatment, control)
    )
    return first, second


def _arm(tracking: Tracking, side: _Side, *, seeds: Sequence[int]) -> SeededArm:
    """The rows of a side; those of an arm without a training are the same with every seed."""
    measured = [
        MeasuredArm(
            measure=side.measure,
            variant=side.variant,
            rows=rows_of_source(tracking.folder(source.run_id), source, measure=side.measure),
            sources=(source,),
        )
        for source in side.sources
    ]
    by_seed = dict(zip(seeds, measured * (len(seeds) // len(measured)), strict=True))
    return SeededArm(measure=side.measure, arm=side.variant, by_seed=by_seed, is_trained=len(measured) > 1)


def _unit(record: ReportRecord, measure: str) -> str:
    return next((m.unit for m in record.measures if m.name == measure), "")


def _from_scores(path: Path, *, treatment: str | None, control: str | None) -> Pilot:
    scores = read_imported(path)
    a, b = _two_of(list(dict.fromkeys(score.variant for score in scores)), treatment, control)
    arms = [
        Rows.of(
            Row(prompt_id=s.prompt_id, cluster=s.cluster or f"prompt {s.prompt_id}", value=s.value, draw=s.draw)
            for s in scores
            if s.variant == variant
        )
        for variant in (a, b)
    ]
    return _pilot(pair(*map(per_prompt, arms)), a, b, unit="")


def _pilot(rows: Differences | None, treatment: str, control: str, *, unit: str) -> Pilot:
    if rows is None or not len(rows):
        raise InputError(f"`{treatment}` and `{control}` must share prompts with a value; they share none")
    return Pilot(rows=rows, treatment=treatment, control=control, unit=unit)


def _from_votes(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    asked: Sequence[tuple[str, frozenset[str]]],
    treatment: str | None,
    control: str | None,
) -> Pilot:
    """Prompt means of votes, ties ½, less one half: 0.1 is 60 % of the points.

    `asked` holds prompts with the variants that were compared on them, rated or not: what has no vote is missing.
    """
    a, b = _two_of(list(dict.fromkeys(row[side] for row in rows for side in ("left", "right"))), treatment, control)
    met = [row for row in rows if {row["left"], row["right"]} == {a, b}]
    if not met:
        raise InputError(f"`{path}` must hold votes of `{a}` against `{b}`, got none")
    # Reading them as votes refuses an unknown winner and a variant against itself.
    votes = read_votes(*([row[key] for row in met] for key in ("left", "right", "winner")), clusters=range(len(met)))
    left = np.array(POINTS)[votes.winner]
    points = np.where([row["left"] == a for row in met], left, 1 - left) - 0.5
    merged = per_prompt(
        Rows.of(
            Row(prompt_id=row["prompt_id"], cluster=row.get("cluster") or f"prompt {row['prompt_id']}", value=value)
            for row, value in zip(met, points.tolist(), strict=True)
        )
    )
    n_missing = len({prompt for prompt, names in asked if names == {a, b}} - {row["prompt_id"] for row in met})
    above = pair(merged, replace(merged, values=np.zeros(len(merged))))
    return _pilot(replace(above, n_missing=n_missing), a, b, unit="share of votes above one half")


def _exported_rows(path: Path) -> tuple[list[Mapping[str, Any]], list[tuple[str, frozenset[str]]]]:
    """A study's ratings as votes: those that count, repeats, checks and rehearsal left out; and what was asked."""
    ratings = []
    for row in read_rows(path, of="ratings"):
        try:
            names = {key: read_id(row.value[key], key) for key in _NAMES if key in row.value}
            ratings.append(from_json(RatingRow, row.value | names | {"prompt_id": require_id(row.value, "prompt_id")}))
        except InputError as err:
            raise CorpusError(path, str(err), line=row.number) from err
    if any(rating.right is None for rating in ratings):
        raise InputError(f"`{path}` must hold votes between two replies, got marks of single ones")
    main = [r for r in ratings if r.kind == "main" and not r.is_rehearsal and not r.is_excluded]
    rows: list[Mapping[str, Any]] = [
        {"prompt_id": r.prompt_id, "cluster": r.cluster, "left": r.left, "right": r.right, "winner": r.verdict}
        for r in main
        if r.verdict is not None
    ]
    if not rows:
        raise InputError(f"`{path}` must hold votes that count, got {len(ratings)} rows and none")
    return rows, [(r.prompt_id, frozenset((r.left, r.right or ""))) for r in main]


def _vote_rows(path: Path) -> list[Mapping[str, Any]]:
    rows = []
    for row in read_rows(path, of="votes"):
        try:
            rows.append(_vote(row.value))
        except InputError as err:
            raise CorpusError(path, str(err), line=row.number) from err
    return rows


def _vote(row: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown, lacking = row.keys() - VOTE_KEYS, {"prompt_id", "left", "right", "winner"} - row.keys()
    if unknown or lacking:
        what = f"unknown {sorted(unknown)}" if unknown else f"no {sorted(lacking)}"
        raise InputError(f"a vote has the keys {', '.join(sorted(VOTE_KEYS))}; got {what}")
    needed = {key: require_id(row, key) for key in ("prompt_id", "left", "right", "winner")}
    return needed | {key: read_id(row.get(key), key) for key in ("cluster", "rater")}


def _two_of(variants: Sequence[str], treatment: str | None, control: str | None) -> tuple[str, str]:
    """The two arms to compare; both may be left out where there are only two."""
    if treatment is None and control is None and len(variants) == 2:
        return variants[0], variants[1]
    listed = ", ".join(variants)
    if treatment is None or control is None:
        raise InputError(f"`--treatment` and `--control` must name two of the variants {listed}")
    for option, name in (("--treatment", treatment), ("--control", control)):
        if name not in variants:
            raise InputError(f"`{option}` must be one of {listed}, got {name}")
    if treatment == control:
        raise InputError(f"`--treatment` and `--control` must differ, got {treatment} twice")
    return treatment, control
