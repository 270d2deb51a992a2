"""How far judges agree with each other over the same replies: the cross-judge matrix.

Two judges may order replies alike (rank correlation) and still call different variants better, or the reverse, so both
are given, each with an interval clustered by film. Agreement of judges is no evidence that either is right: judges of
one family share their mistakes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import stats
from harness.errors import InputError
from harness.judging.preferences import rank_correlation
from harness.judging.qualification import is_self_judging
from harness.seeding import stream_of_rows
from harness.types import Estimate

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRows:
    """What one judge made of one criterion: values by reply, differences by pair, or one of the two."""

    judge_id: str
    family: str
    criterion: str
    scores: Mapping[str, float | None]  # by item; empty for a pairwise judge
    differences: Mapping[str, float | None]  # by pair, first variant − second; empty with one variant
    clusters: Mapping[str, str]  # of every item and pair


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAgreement:
    """How far two judges agree on one criterion."""

    criterion: str
    first: str  # judge id
    second: str  # judge id
    rank_correlation: Estimate | None  # over replies, or over pairs where a judge scores none; None: not defined
    over: str  # "replies" or "pairs"
    verdicts: Estimate | None  # share of pairs with the same verdict: first, second or tie; None without pairs
    share_family: bool


def judge_matrix(
    judged: Sequence[JudgedRows], *, rng: np.random.Generator, level: float = 0.95
) -> list[JudgeAgreement]:
    """Every two judges of the same criterion, in the order given.

    Raises InputError: no two of them judge the same criterion.
    """
    seed = int(rng.integers(1 << 63))  # of a stream per number: no agreement depends on the judges beside it
    found = [
        _agreement(one, other, seed=seed, level=level)
        for one, other in itertools.combinations(judged, 2)
        if one.criterion == other.criterion
    ]
    if not found:
        raise InputError(
            f"`judges` must share a criterion, got {sorted({j.criterion for j in judged})}: name two others"
        )
    return found


def preference_warnings(judged: Sequence[JudgedRows], *, preferred_by: Sequence[str]) -> list[str]:
    """A sentence per judge that shares a family with what made the preferences (`preferred_by`, families)."""
    families = dict.fromkeys((j.judge_id, j.family) for j in judged)
    return [
        f"{judge} is of the family {family}, which made the preferences: it rates its own choices, and what it reports "
        "of a variant trained on them claims nothing"
        for judge, family in families
        if is_self_judging(family, preferred_by)
    ]


def _agreement(one: JudgedRows, other: JudgedRows, *, seed: int, level: float) -> JudgeAgreement:
    over = "replies" if one.scores and other.scores else "pairs"
    values = (one.scores, other.scores) if over == "replies" else (one.differences, other.differences)
    return JudgeAgreement(
        criterion=one.criterion,
        first=one.judge_id,
        second=other.judge_id,
        rank_correlation=_rank_correlation(*values, clusters=one.clusters, seed=seed, level=level),
        over=over,
        verdicts=_same_verdict(one.differences, other.differences, clusters=one.clusters, level=level),
        share_family=is_self_judging(one.family, [other.family]),
    )


def _rank_correlation(
    one: Mapping[str, float | None],
    other: Mapping[str, float | None],
    *,
    clusters: Mapping[str, str],
    seed: int,
    level: float,
) -> Estimate | None:
    joined, n_missing = _joined(one, other)
    rows = [(a, b, clusters[key]) for key, a, b in joined]
    rng = stream_of_rows(seed, "rank correlation", rows=rows)
    return rank_correlation(rows, rng=rng, level=level, n_missing=n_missing)


def _same_verdict(
    one: Mapping[str, float | None], other: Mapping[str, float | None], *, clusters: Mapping[str, str], level: float
) -> Estimate | None:
    rows, n_missing = _joined(one, other)
    if not rows:
        return None
    return stats.proportion_estimate(
        [float(_sign(a) == _sign(b)) for _, a, b in rows],
        clusters=[clusters[key] for key, _, _ in rows],
        level=level,
        n_missing=n_missing,
        method="share of pairs with the same verdict, CR2 + Satterthwaite by cluster, logit t",
    )


def _joined(
    one: Mapping[str, float | None], other: Mapping[str, float | None]
) -> tuple[list[tuple[str, float, float]], int]:
    """Keys that both judges have a value for, and how many of either's keys have none."""
    keys = dict.fromkeys([*one, *other])
    rows = []
    for key in keys:
        a, b = one.get(key), other.get(key)
        if a is not None and b is not None:
            rows.append((key, a, b))
    return rows, len(keys) - len(rows)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
