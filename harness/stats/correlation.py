"""Correlation of two scores over the same rows, with cluster bootstrap intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InputError
from harness.stats.outcomes import bootstrap_se, fisher_estimate
from harness.stats.paired import contrast_of_differences
from harness.stats.proportions import within_range
from harness.stats.rows import (
    Coded,
    Floats,
    Labels,
    check_columns,
    check_count,
    check_level,
    check_n_missing,
    cluster_counts,
    code_labels,
)
from harness.types import Estimate

CONSTANT = "one side is constant: no correlation is defined"


def spearman(
    x: ArrayLike,
    y: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 2_000,
) -> Estimate:
    """Spearman's rank correlation, mid-ranks for ties, with a cluster bootstrap interval.

    Ranks are taken anew in every resample. The bootstrap standard error is carried to Fisher's z scale
    (se / (1 − ρ²)), where the interval is a t interval with clusters − 1 degrees of freedom, and back. Without an
    interval: one cluster, or |ρ| = 1. Raises InputError when `x` or `y` is constant.
    """
    return _correlation(
        x, y, is_ranked=True, clusters=clusters, rng=rng, level=level, n_missing=n_missing, n_resamples=n_resamples
    )


def pearson(
    x: ArrayLike,
    y: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 2_000,
) -> Estimate:
    """Pearson's linear correlation with the same interval as `spearman`."""
    return _correlation(
        x, y, is_ranked=False, clusters=clusters, rng=rng, level=level, n_missing=n_missing, n_resamples=n_resamples
    )


def kendall_within(
    x: ArrayLike, y: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> Estimate:
    """Kendall's tau-b (1945) of the rows within each cluster, mean over clusters: who is ranked higher in one context?

    A cluster in which either side is constant has none and is left out, as in G-Eval's evaluation. A t interval over
    clusters, which are the rows here. Raises InputError when no cluster has one.
    """
    from scipy.stats import kendalltau

    first, second = check_columns(x=x, y=y, clusters=clusters, minimum=3)
    check_level(level)
    codes = code_labels("clusters", clusters).codes
    taus = [float(kendalltau(first[codes == c], second[codes == c]).statistic) for c in np.unique(codes)
            if min(np.ptp(first[codes == c]), np.ptp(second[codes == c])) > 0]  # fmt: skip
    if not taus:
        raise InputError("`clusters` must hold one in which both sides vary, got none: no rank correlation is defined")
    spread = contrast_of_differences(
        taus, clusters=np.arange(len(taus)), level=level, n_missing=check_n_missing(n_missing), scale=1.0,
        method="Kendall's tau-b within clusters, mean over clusters, t interval",
    )  # fmt: skip
    return within_range(spread.estimate, low=-1, high=1)


def _correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    is_ranked: bool,
    clusters: Labels,
    rng: np.random.Generator,
    level: float,
    n_missing: int,
    n_resamples: int,
) -> Estimate:
    first, second = check_columns(x=x, y=y, clusters=clusters, minimum=3)
    check_level(level)
    check_count("n_resamples", n_resamples, minimum=100)
    for name, values in (("x", first), ("y", second)):
        if values.max() == values.min():
            raise InputError(f"`{name}` must vary, got {values[0]:g} on every row: {CONSTANT}")
    coded = code_labels("clusters", clusters)
    sides = [_Side(first, is_ranked=is_ranked), _Side(second, is_ranked=is_ranked)]
    value = float(_weighted_correlation(sides, np.ones((1, len(first))))[0])
    se = None if coded.n_labels == 1 else _bootstrap_se(sides, coded, rng=rng, n_resamples=n_resamples)
    return fisher_estimate(
        value,
        se,
        n=len(coded.codes),
        n_clusters=coded.n_labels,
        n_missing=check_n_missing(n_missing),
        level=level,
        method=f"{'Spearman' if is_ranked else 'Pearson'} correlation, cluster bootstrap, Fisher z",
        perfect="perfect correlation: no interval",
        flat="most resamples have no spread: no interval",
    )


class _Side:
    """One of the two variables, prepared so that its ranks in a weighted resample cost one cumulative sum."""

    def __init__(self, values: Floats, *, is_ranked: bool) -> None:
        self.is_ranked = is_ranked
        self.values = values - values.mean()
        unique, self.level = np.unique(values, return_inverse=True)
        self.n_levels = len(unique)
        self.order: NDArray[np.intp] = np.argsort(self.level, kind="stable")
        self.starts = np.searchsorted(self.level[self.order], np.arange(self.n_levels))

    def positions(self, weights: Floats) -> Floats:
        """Mid-ranks (up to a constant) or values of every row in each resample: [resamples, n]."""
        if not self.is_ranked:
            return np.broadcast_to(self.values, weights.shape)
        per_level = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        middle = np.cumsum(per_level, axis=1) - per_level / 2
        return middle[:, self.level]


def _weighted_correlation(sides: list[_Side], weights: Floats) -> Floats:
    """Correlation per resample; NaN where a resample has no spread."""
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for side in sides:
        positions = side.positions(weights)
        centred.append(positions - (weights * positions).sum(axis=1, keepdims=True) / total)
    a, b = centred
    products = [np.einsum("ij,ij,ij->i", weights, p, q) for p, q in ((a, b), (a, a), (b, b))]
    scale = np.sqrt(products[1] * products[2])
    is_flat = scale <= 1e-9 * total[:, 0]
    return np.where(is_flat, np.nan, products[0] / np.where(is_flat, 1.0, scale))


def _bootstrap_se(sides: list[_Side], coded: Coded, *, rng: np.random.Generator, n_resamples: int) -> float | None:
    rows = max(1, 1_000_000 // len(coded.codes))
    draws: list[Floats] = []
    for counts in cluster_counts(coded.n_labels, n_resamples=n_resamples, rng=rng):
        draws.extend(
            _weighted_correlation(sides, counts[start : start + rows][:, coded.codes])
            for start in range(0, len(counts), rows)
        )
    return bootstrap_se(draws)
