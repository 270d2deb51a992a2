"""From two variants' generations to pairs, and from a judge's verdicts to the same estimates as people's votes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import stats
from harness.composing import compose
from harness.errors import InputError
from harness.judging.scored import item_id, judged_items
from harness.store.artifacts import digest_json
from harness.types import NO_REPLY, Estimate, Generation, JudgedItem, Place, PreferredReply, Prompt, Score, ScoreStatus

if TYPE_CHECKING:
    import numpy as np

PART: Mapping[PreferredReply, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}  # of a win, for the first reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedGenerations:
    """One row of a table of verdicts: whose replies to which prompt, in which order, and which was preferred."""

    prompt_id: str
    first: str  # variant
    second: str  # variant
    draw: int
    cluster: str
    criterion: str
    judge_id: str
    shown_first: Place
    preferred: PreferredReply | None  # None is missing; `status` says why
    status: ScoreStatus
    probabilities: tuple[float, float, float] | None
    mass: float | None
    entropy: float | None
    length_difference: int  # characters of the first reply − of the second
    mode: str
    reason: str
    pair_id: str

    @property
    def item_id(self) -> str:
        """Of the pair, as in a `Score`."""
        return self.pair_id

    @property
    def value(self) -> float | None:
        """The first reply's share of the win."""
        return None if self.preferred is None else PART[self.preferred]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseEstimates:
    """How the first variant fares against the second by one criterion, and what biases the judge that says so."""

    criterion: str
    first: str
    second: str
    win_share: Estimate  # a pair counts 1, ½ or 0 in each order, and the mean of both
    decisive: Estimate | None  # share of decisive verdicts won; None: every verdict is a tie
    ties: Estimate  # share of verdicts
    strength: Estimate | None  # log-odds, Davidson with position; None where the verdicts do not determine it
    strength_note: str  # why there is none
    position_consistency: Estimate  # share of pairs with the same verdict in both orders
    first_position: Estimate | None  # share of decisive verdicts for the reply shown first; ½ is no bias
    length_correlation: Estimate | None  # rank correlation of win share and length difference; None: not defined


def pair_id(first: Generation, second: Generation) -> str:
    """The id under which a judge sees a pair: the same every time, and no variant's name in it."""
    return digest_json([first.prompt_id, first.variant, second.variant, first.draw])[:16]


def judged_pairs(
    prompts: Sequence[Prompt], first: Iterable[Generation], second: Iterable[Generation]
) -> list[JudgedItem]:
    """Blind pairs of the same prompt and draw, in the order of the prompts.

    Where a generation failed or was refused the verdict is missing, with that status. Raises InputError when a draw of
    one side has no counterpart.
    """
    both = {item_id(one): (one, other) for one, other in _paired(first, second)}
    return [_against(item, *both[item.id]) for item in judged_items(prompts, [one for one, _ in both.values()])]


def join_preferences(
    first: Iterable[Generation], second: Iterable[Generation], scores: Iterable[Score]
) -> list[ComparedGenerations]:
    """One row per verdict, in their order; InputError on a verdict about something else."""
    known = {pair_id(one, other): (one, other) for one, other in _paired(first, second)}
    rows = []
    for score in scores:
        if score.item_id not in known or score.shown_first is None:
            raise InputError(f"`{score.item_id}` must be one of the pairs given, got a verdict on it")
        rows.append(_row(*known[score.item_id], score, shown_first=score.shown_first))
    return rows


def item_values(scores: Sequence[Score] | Sequence[ComparedGenerations]) -> dict[tuple[str, str], float | None]:
    """By item and criterion the score, of a pair the mean over both orders; None unless all of it stands."""
    parts: dict[tuple[str, str], dict[Place | None, float | None]] = {}
    for s in scores:
        parts.setdefault((s.item_id, s.criterion), {})[s.shown_first] = s.value
    return {key: _mean(by_order) for key, by_order in parts.items()}


def pairwise_estimates(
    rows: Sequence[ComparedGenerations], *, rng: np.random.Generator, level: float = 0.95
) -> PairwiseEstimates:
    """Every figure on the verdicts of one criterion on two variants; resampled by film.

    Raises InputError when no pair has both verdicts, or the rows are not of one comparison.
    """
    _validate(rows)
    clusters = {row.pair_id: row.cluster for row in rows}
    shares = {pair: share for (pair, _), share in item_values(rows).items()}
    whole = {pair: share for pair, share in shares.items() if share is not None}
    if not whole:
        raise InputError("`rows` must hold a pair with a verdict in both orders, got none: look at their status")
    n_missing = len(shares) - len(whole)
    said = [row for row in rows if row.pair_id in whole]
    votes = stats.read_votes(
        [row.first if row.shown_first == "first" else row.second for row in said],
        [row.second if row.shown_first == "first" else row.first for row in said],
        [_side(row) for row in said],
        clusters=[row.cluster for row in said],
        n_missing=2 * n_missing,
    )
    has_decisive = any(row.preferred != "tie" for row in said)
    rate = stats.win_rate(votes, rows[0].first, rows[0].second, level=level) if has_decisive else None
    fit = stats.fit_strengths(votes, level=level)
    strength = (
        None
        if isinstance(fit, stats.Unfitted)
        else replace(fit.contrast(rows[0].first, rows[0].second).estimate, row="verdict")
    )
    return PairwiseEstimates(
        criterion=rows[0].criterion,
        first=rows[0].first,
        second=rows[0].second,
        win_share=stats.proportion_estimate(
            list(whole.values()),
            clusters=[clusters[pair] for pair in whole],
            level=level,
            n_missing=n_missing,
            method="win share, mean over both orders, CR2 + Satterthwaite by cluster, logit t",
            row="pair",
        ),
        decisive=replace(rate.decisive, row="verdict") if rate else None,
        ties=stats.proportion_estimate(
            [float(row.preferred == "tie") for row in said],
            clusters=[row.cluster for row in said],
            level=level,
            n_missing=2 * n_missing,
            row="verdict",
        ),
        strength=strength,
        strength_note=fit.reason if isinstance(fit, stats.Unfitted) else "",
        position_consistency=position_consistency(said, clusters=clusters, level=level, n_missing=n_missing),
        first_position=first_position(said, clusters=clusters, level=level),
        length_correlation=rank_correlation(
            _shares_and_lengths(said, whole), rng=rng, level=level, n_missing=n_missing, row="pair"
        ),
    )


def position_consistency(
    preferences: Sequence[Score] | Sequence[ComparedGenerations],
    *,
    clusters: Mapping[str, str],
    level: float = 0.95,
    n_missing: int = 0,
) -> Estimate:
    """Share of pairs with the same verdict in both orders; `clusters` by pair."""
    verdicts: dict[tuple[str, str], set[PreferredReply | None]] = {}
    for p in preferences:
        verdicts.setdefault((p.item_id, p.criterion), set()).add(p.preferred)
    return stats.proportion_estimate(
        [float(len(both) == 1) for both in verdicts.values()],
        clusters=[clusters[pair] for pair, _ in verdicts],
        level=level,
        n_missing=n_missing,
        method="share of pairs with one verdict in both orders, CR2 + Satterthwaite by cluster, logit t",
        row="pair",
    )


def first_position(
    preferences: Sequence[Score] | Sequence[ComparedGenerations], *, clusters: Mapping[str, str], level: float = 0.95
) -> Estimate | None:
    """Share of decisive verdicts for the reply shown first, over both orders; None when every verdict is a tie."""
    decisive = [p for p in preferences if p.preferred is not None and p.preferred != "tie"]
    if not decisive:
        return None
    return stats.proportion_estimate(
        [float(p.preferred == p.shown_first) for p in decisive],
        clusters=[clusters[p.item_id] for p in decisive],
        level=level,
        method="share of decisive verdicts for the first position, CR2 + Satterthwaite by cluster, logit t",
        row="verdict",
    )


def rank_correlation(
    rows: Sequence[tuple[float, float, str]], *, rng: np.random.Generator, level: float, n_missing: int, row: str = ""
) -> Estimate | None:
    """Spearman's, of rows of two figures and a cluster; None where it is not defined: few rows, or a constant."""
    if len(rows) < 3 or any(len({figures[i] for figures in rows}) == 1 for i in (0, 1)):
        return None
    one, other, clusters = zip(*rows, strict=True)
    found = stats.spearman(one, other, clusters=clusters, rng=rng, level=level, n_missing=n_missing)
    return replace(found, row=row)


def _shares_and_lengths(
    rows: Sequence[ComparedGenerations], shares: Mapping[str, float]
) -> list[tuple[float, float, str]]:
    """Of each pair its win share, its difference in length and its cluster."""
    by_pair = {row.pair_id: row for row in rows}
    return [(share, by_pair[pair].length_difference, by_pair[pair].cluster) for pair, share in shares.items()]


def _paired(first: Iterable[Generation], second: Iterable[Generation]) -> list[tuple[Generation, Generation]]:
    """Generations of the same prompt and draw, in the order of the first."""
    by_key = {(g.prompt_id, g.draw): g for g in second}
    opponents = [(g, by_key.pop((g.prompt_id, g.draw), None)) for g in first]
    alone = next((g for g, other in opponents if other is None), None) or next(iter(by_key.values()), None)
    if alone is not None:
        raise InputError(
            f"`{alone.prompt_id}` draw {alone.draw} must have a reply on both sides, got only {alone.variant}'s; "
            "leave it out or generate the other"
        )
    return [(g, other) for g, other in opponents if other is not None]


def _against(item: JudgedItem, one: Generation, other: Generation) -> JudgedItem:
    return replace(
        item,
        id=pair_id(one, other),
        opponent="" if other.is_missing else other.text,
        is_opponent_truncated=other.finish_reason == "length",
        missing=item.missing or NO_REPLY.get(other.finish_reason),
    )


def _row(one: Generation, other: Generation, score: Score, *, shown_first: Place) -> ComparedGenerations:
    p = score.probabilities
    return compose(
        ComparedGenerations,
        one,
        score,
        first=one.variant,
        second=other.variant,
        shown_first=shown_first,
        probabilities=None if p is None else (p[0], p[1], p[2]),
        length_difference=len(one.text) - len(other.text),
        pair_id=score.item_id,
    )


def _mean(by_order: Mapping[Place | None, float | None]) -> float | None:
    there = [value for value in by_order.values() if value is not None]
    return sum(there) / len(there) if len(there) == (1 if None in by_order else 2) else None


def _side(row: ComparedGenerations) -> str:
    """Where the preferred reply stood: the first shown is a voter's left."""
    if row.preferred == "tie":
        return "tie"
    return "left" if row.preferred == row.shown_first else "right"


def _validate(rows: Sequence[ComparedGenerations]) -> None:
    kinds = {(row.criterion, row.judge_id, row.first, row.second) for row in rows}
    if len(kinds) != 1:
        raise InputError(f"`rows` must be of one criterion, judge and two variants, got {len(kinds)} such: filter them")
