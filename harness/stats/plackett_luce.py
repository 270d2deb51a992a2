"""Strengths from rankings of three replies or more: Plackett (1975) and Luce (1959).

A ranking is a row of choices, each the best of what is left: P(a ≻ b ≻ c) = wₐ / (wₐ + w_b + w_c) · w_b / (w_b + w_c).
Where several share a rank (best–worst says nothing of those between), the likelihood is the sum over all their orders:
best–worst votes are fitted exactly, and not as if the middle were ties. Intervals: sandwich by cluster, t.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats
from scipy.sparse import csgraph

from harness.errors import InputError
from harness.stats.bradley_terry import Unfitted
from harness.stats.rows import Floats, check_level
from harness.types import Estimate

MAX_REPLIES = 6  # orders of those that share a rank are summed one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingFit:
    """Plackett–Luce strengths."""

    variants: tuple[str, ...]
    strengths: tuple[Estimate, ...]  # log-odds to the mean of all


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Rankings that are the same, counted together."""

    orders: tuple[tuple[int, ...], ...]  # every full order that agrees with it
    rows: tuple[int, ...]  # which rankings


def fit_rankings(
    rankings: Sequence[Mapping[str, int]], *, clusters: Sequence[Hashable], level: float = 0.95
) -> RankingFit | Unfitted:
    """Fit rankings, each a mapping of variant to rank (1 is best; a shared rank says nothing of the order inside).

    Raises InputError: no ranking, one of fewer than two or more than six variants, or a cluster that is lacking.
    """
    check_level(level)
    _validate(rankings, clusters)
    variants = tuple(sorted({name for ranking in rankings for name in ranking}))
    beaten = np.zeros((len(variants), len(variants)))
    for ranking in rankings:
        for a, b in itertools.permutations(ranking, 2):
            beaten[variants.index(a), variants.index(b)] += ranking[a] < ranking[b]
    n_groups, labels = csgraph.connected_components((beaten > 0).astype(float), directed=True, connection="strong")
    if n_groups > 1:
        groups = tuple(tuple(v for v, g in zip(variants, labels, strict=True) if g == k) for k in range(n_groups))
        return Unfitted(groups=groups, reason="some variants were never ranked below others, or never ranked with them")
    kinds = _kinds(rankings, variants)
    n = len(variants)

    def loss(free: Floats) -> tuple[float, Floats]:
        parts = [(len(kind.rows), *_log_likelihood(np.append(free, 0.0), kind)) for kind in kinds]
        gradient = np.sum([k * slope for k, _, slope in parts], axis=0)[:-1]
        return -float(sum(k * value for k, value, _ in parts)), -gradient

    free = optimize.minimize(loss, np.zeros(n - 1), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return _estimates(np.append(free, 0.0), kinds, variants, clusters, level=level)


def _validate(rankings: Sequence[Mapping[str, int]], clusters: Sequence[Hashable]) -> None:
    if not rankings or len(rankings) != len(clusters):
        raise InputError(
            f"`rankings` must hold at least one, each with its cluster, got {len(rankings)} of {len(clusters)}"
        )
    for ranking in rankings:
        if not 2 <= len(ranking) <= MAX_REPLIES:
            raise InputError(f"`rankings` must rank 2 to {MAX_REPLIES} variants each, got {len(ranking)}")


def _kinds(rankings: Sequence[Mapping[str, int]], variants: Sequence[str]) -> list[_Kind]:
    rows: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for row, ranking in enumerate(rankings):
        rows.setdefault(tuple(sorted((rank, variants.index(v)) for v, rank in ranking.items())), []).append(row)
    return [_Kind(orders=_orders(key), rows=tuple(of)) for key, of in rows.items()]


def _orders(ranked: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], ...]:
    tied = [[v for _, v in group] for _, group in itertools.groupby(ranked, key=lambda pair: pair[0])]
    inside = [list(itertools.permutations(group)) for group in tied]
    return tuple(tuple(itertools.chain.from_iterable(parts)) for parts in itertools.product(*inside))


def _log_likelihood(strengths: Floats, kind: _Kind) -> tuple[float, Floats]:
    """Log-likelihood of one such ranking and its slope."""
    values, slopes = [], []
    for order in kind.orders:
        value, slope = 0.0, np.zeros(len(strengths))
        for place in range(len(order) - 1):
            left = list(order[place:])
            value += strengths[left[0]] - special.logsumexp(strengths[left])
            slope[left[0]] += 1
            slope[left] -= special.softmax(strengths[left])
        values.append(value)
        slopes.append(slope)
    return float(special.logsumexp(values)), special.softmax(values) @ np.array(slopes)


def _estimates(
    strengths: Floats, kinds: Sequence[_Kind], variants: tuple[str, ...], clusters: Sequence[Hashable], *, level: float
) -> RankingFit:
    """Centred strengths with sandwich intervals."""
    n, size = len(variants), len(clusters)
    scores = np.zeros((size, n))
    for kind in kinds:
        scores[list(kind.rows)] = _log_likelihood(strengths, kind)[1]
    names = list(dict.fromkeys(clusters))
    place = np.array([names.index(c) for c in clusters])
    sums = np.zeros((len(names), n))
    np.add.at(sums, place, scores)
    centre = np.eye(n) - 1 / n
    half = np.full(n, np.nan)
    if len(names) > 1:
        bread = np.linalg.pinv(_information(strengths, kinds))
        meat = sums.T @ sums * len(names) / (len(names) - 1)
        variance = np.diag(centre @ bread @ meat @ bread @ centre.T)
        half = stats.t.ppf(0.5 + level / 2, len(names) - 1) * np.sqrt(np.maximum(variance, 0))
    centred = centre @ strengths
    return RankingFit(
        variants=variants,
        strengths=tuple(
            Estimate(
                value=float(value),
                low=None if np.isnan(h) else float(value - h),
                high=None if np.isnan(h) else float(value + h),
                level=level,
                n=size,
                n_clusters=len(names),
                n_missing=0,
                method="Plackett–Luce, sandwich by cluster, t",
                notes=("about these raters",),
                row="ranking",
            )
            for value, h in zip(centred, half, strict=True)
        ),
    )


def _information(strengths: Floats, kinds: Sequence[_Kind], step: float = 1e-5) -> Floats:
    """Negative Hessian of the log-likelihood, by differences of the exact slope."""

    def slope(at: Floats) -> Floats:
        total: Floats = np.sum([len(kind.rows) * _log_likelihood(at, kind)[1] for kind in kinds], axis=0)
        return total

    n = len(strengths)
    hessian = np.array([(slope(strengths + step * e) - slope(strengths - step * e)) / (2 * step) for e in np.eye(n)])
    information: Floats = -(hessian + hessian.T) / 2
    return information
