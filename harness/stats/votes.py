"""Pairwise votes: read once into arrays, then win rates, ties and the sign test."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from harness.errors import InputError
from harness.stats.crossed import crossed_share, panel_claim
from harness.stats.intervals import t_p_value
from harness.stats.outcomes import TestResult
from harness.stats.proportions import proportion_estimate, wilson_interval
from harness.stats.rows import (
    Coded,
    Codes,
    Floats,
    Labels,
    check_level,
    check_n_missing,
    check_same_length,
    code_labels,
)
from harness.types import Estimate

WINNERS = ("left", "right", "tie", "both_bad")
LEFT, RIGHT, TIE, BOTH_BAD = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Aligned votes; make them with `read_votes`."""

    variants: tuple[Hashable, ...]  # sorted by name
    left: Codes  # [n] variant shown left
    right: Codes  # [n]
    winner: Codes  # [n] LEFT, RIGHT, TIE or BOTH_BAD
    clusters: Coded  # the unit that errors are shared within (the film, or the prompt)
    raters: Coded | None
    length_difference: Floats | None  # [n] length of the left reply − the right one
    n_missing: int

    def __len__(self) -> int:
        return len(self.winner)

    @property
    def outcome(self) -> Codes:
        """[n] LEFT, RIGHT or TIE, with "both bad" as a tie."""
        return np.minimum(self.winner, TIE)

    def taken(self, rows: NDArray[Any]) -> Votes:
        """The votes at `rows` (mask or positions), with the same variants."""
        return replace(
            self,
            left=self.left[rows],
            right=self.right[rows],
            winner=self.winner[rows],
            clusters=_recoded(self.clusters, rows),
            raters=None if self.raters is None else _recoded(self.raters, rows),
            length_difference=None if self.length_difference is None else self.length_difference[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """How one variant fares against another."""

    decisive: Estimate  # share of wins among decisive votes, by cluster; with raters known, about these raters
    people: Estimate | None  # the same about raters like these: crossed; None without two raters and two clusters
    naive: Estimate  # the same share with Wilson's interval, as if votes were independent: for comparison only
    ties: Estimate  # share of ties, "both bad" not among them
    both_bad: Estimate  # share of "both bad"
    sign_test: TestResult  # of decisive wins against one half, clustered
    naive_p_value: float  # exact binomial sign test, as if votes were independent: for comparison only


def read_votes(
    left: Sequence[Hashable] | NDArray[Any],
    right: Sequence[Hashable] | NDArray[Any],
    winner: Sequence[str] | NDArray[Any],
    *,
    clusters: Labels,
    raters: Labels | None = None,
    length_difference: ArrayLike | None = None,
    n_missing: int = 0,
) -> Votes:
    """Votes as arrays: who stood left and right, and `winner` as "left", "right", "tie" or "both_bad".

    Raises InputError for an unknown winner (it is never counted as a tie), a variant against itself, columns of
    different length, or no votes.
    """
    n = check_same_length(left=left, right=right, winner=winner, clusters=clusters)
    if n == 0:
        raise InputError("`winner` must hold at least 1 vote, got 0: collect votes first")
    sides = [code_labels(name, side) for name, side in (("left", left), ("right", right))]
    variants = tuple(sorted(set(sides[0].labels) | set(sides[1].labels), key=str))
    number = {variant: i for i, variant in enumerate(variants)}
    codes = [np.array([number[label] for label in side.labels], dtype=np.intp)[side.codes] for side in sides]
    if (same := np.flatnonzero(codes[0] == codes[1])).size:
        raise InputError(f"`left` and `right` must differ, got {variants[codes[0][same[0]]]!r} twice in row {same[0]}")
    return Votes(
        variants=variants,
        left=codes[0],
        right=codes[1],
        winner=_winners(winner),
        clusters=code_labels("clusters", clusters),
        raters=None if raters is None else _aligned(code_labels("raters", raters), n),
        length_difference=None if length_difference is None else _numbers("length_difference", length_difference, n),
        n_missing=check_n_missing(n_missing),
    )


def win_rate(votes: Votes, variant: Hashable, opponent: Hashable, *, level: float = 0.95) -> WinRate:
    """Share of decisive votes that `variant` wins against `opponent`, with ties and "both bad" beside it.

    Intervals: CR2 on the logit scale by cluster, which speaks of these raters; `people` takes raters as sampled too
    (`crossed`). `naive` treats votes as independent. Raises InputError when the two never met or when every vote is a
    tie.
    """
    check_level(level)
    first, second = _number(votes, variant), _number(votes, opponent)
    met = ((votes.left == first) & (votes.right == second)) | ((votes.left == second) & (votes.right == first))
    if not met.any():
        raise InputError(f"`votes` must hold votes of {variant!r} against {opponent!r}, got none: compare them first")
    taken = votes.taken(met)
    is_decisive = taken.winner < TIE
    if not is_decisive.any():
        raise InputError(f"`votes` must hold a decisive vote of {variant!r} against {opponent!r}, got ties only")
    won = ((taken.winner == LEFT) == (taken.left == first)).astype(np.float64)
    decisive = taken.taken(is_decisive)
    share = proportion_estimate(
        won[is_decisive], clusters=decisive.clusters.codes, level=level, n_missing=votes.n_missing
    )
    if decisive.raters is not None:
        share = panel_claim(share, decisive.raters.n_labels)
    labels = taken.clusters.codes
    n_wins, n_decisive = float(won[is_decisive].sum()), int(is_decisive.sum())
    return WinRate(
        decisive=share,
        people=_of_people(won[is_decisive], decisive, level),
        naive=_naive(share, n_wins, n_decisive, level),
        ties=proportion_estimate((taken.winner == TIE).astype(np.float64), clusters=labels, level=level),
        both_bad=proportion_estimate((taken.winner == BOTH_BAD).astype(np.float64), clusters=labels, level=level),
        sign_test=_sign_test(share),
        naive_p_value=binomial_p_value(int(n_wins), n_decisive),
    )


def binomial_p_value(wins: int, trials: int) -> float:
    """Two-sided exact sign test: P(at least this far from one half), for independent decisive votes."""
    if not (trials > 0 and 0 <= wins <= trials):
        raise InputError(f"`wins` must lie between 0 and `trials`, got {wins} of {trials}: count the decisive votes")
    return float(min(1.0, 2 * special.bdtr(min(wins, trials - wins), trials, 0.5)))


def _of_people(won: Floats, votes: Votes, level: float) -> Estimate | None:
    raters = votes.raters
    if raters is None or min(raters.n_labels, votes.clusters.n_labels) < 2:
        return None
    return crossed_share(
        won,
        first=raters.codes,
        second=votes.clusters.codes,
        names=("rater", "cluster"),
        level=level,
        n_missing=votes.n_missing,
        note=f"about raters like these {raters.n_labels}",
    )


def _naive(share: Estimate, wins: float, trials: int, level: float) -> Estimate:
    ends = wilson_interval(wins, trials, level=level)
    return replace(
        share,
        low=ends.low,
        high=ends.high,
        n_clusters=trials,
        method="share of decisive votes, Wilson, as if votes were independent",
        df=None,
        se=None,
        n_crossed=0,
        crossed="",
        row="vote",
        cluster="vote",
        notes=("ignores shared films and raters",),
    )


def _sign_test(share: Estimate) -> TestResult:
    """Test of one half: t with the standard error of the share; with no variance, each cluster is one coin."""
    if share.se is None:
        return TestResult(estimate=share, p_value=None, statistic=None, note=share.notes[0] if share.notes else "")
    if share.se == 0:
        p_value = 1.0 if share.value == 0.5 else 2.0 ** (1 - share.n_clusters)
        return TestResult(estimate=share, p_value=min(1.0, p_value), statistic=None, note="every cluster agrees")
    statistic = (share.value - 0.5) / share.se
    return TestResult(estimate=share, p_value=t_p_value(statistic, share.df or math.inf), statistic=statistic)


def _winners(winner: Sequence[str] | NDArray[Any]) -> Codes:
    number = {name: i for i, name in enumerate(WINNERS)}
    try:
        return np.fromiter(map(number.__getitem__, winner), dtype=np.intp, count=len(winner))
    except (KeyError, TypeError) as err:
        unknown = next(name for name in winner if name not in WINNERS)
        raise InputError(
            f"`winner` must be left, right, tie or both_bad, got {unknown!r}: drop votes that were skipped"
        ) from err


def _numbers(name: str, values: ArrayLike, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,) or not np.isfinite(array).all():
        raise InputError(f"`{name}` must hold one finite number a vote ({n}), got shape {array.shape}: align it first")
    return array


def _aligned(coded: Coded, n: int) -> Coded:
    if len(coded.codes) != n:
        raise InputError(f"`raters` must hold one label a vote ({n}), got {len(coded.codes)}: align it first")
    return coded


def _recoded(coded: Coded, rows: NDArray[Any]) -> Coded:
    kept, codes = np.unique(coded.codes[rows], return_inverse=True)
    return Coded(codes=codes.astype(np.intp), labels=tuple(coded.labels[i] for i in kept))


def _number(votes: Votes, variant: Hashable) -> int:
    if variant not in votes.variants:
        raise InputError(f"`variant` must be one of {list(votes.variants)}, got {variant!r}: check its name")
    return votes.variants.index(variant)
