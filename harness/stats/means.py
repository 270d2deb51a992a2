"""The mean of one arm with a symmetric cluster bootstrap-t interval.

Whole clusters are drawn with replacement; the mean is the ratio Σ sums / Σ sizes, studentised by its linearised
standard error (Hall 1988, doi:10.1214/aos/1176350933; Cameron, Gelbach & Miller 2008 for clusters). The interval is
`mean ± q · se` with q the `level` quantile of |t*|: symmetric, since the equal-tailed one over-reacts to skew when
clusters are few. Only sums per cluster are resampled, so the cost does not depend on the number of rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.intervals import t_interval
from harness.stats.outcomes import ONE_CLUSTER
from harness.stats.paired import cr2_variance, is_constant
from harness.stats.rows import (
    ClusterSums,
    Floats,
    Labels,
    check_columns,
    check_count,
    check_level,
    check_n_missing,
    cluster_counts,
    code_labels,
    sum_clusters,
)
from harness.types import Estimate

MIN_BOOTSTRAP_CLUSTERS = 5  # with fewer, resamples of one cluster only are more than the 5 % that the tails leave


def mean_estimate(
    values: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 10_000,
) -> Estimate:
    """Mean of `values` [n] with a symmetric cluster bootstrap-t interval; rows of one cluster move together.

    Under 5 clusters the interval is CR2 + Satterthwaite instead, and says so; with one cluster there is none; with no
    variance between clusters it is degenerate, with a note. `se` is the CR2 standard error in every case.
    Raises InputError on NaN, unequal lengths or no rows.
    """
    (array,) = check_columns(values=values, clusters=clusters)
    check_level(level)
    check_n_missing(n_missing)
    check_count("n_resamples", n_resamples, minimum=100)
    sums = sum_clusters(array, code_labels("clusters", clusters))
    if sums.n_clusters == 1:
        return _estimate(sums, None, None, level, n_missing, "mean", (ONE_CLUSTER,))
    if is_constant(sums, scale=float(np.abs(array).max())):
        return _estimate(sums, 0.0, 0.0, level, n_missing, "mean", ("no variance between clusters",))
    spread = cr2_variance(sums)
    if sums.n_clusters >= MIN_BOOTSTRAP_CLUSTERS:
        quantile = _bootstrap_t_quantile(sums, level=level, rng=rng, n_resamples=n_resamples)
        if math.isfinite(quantile):
            half = quantile * _linearised_se(sums)
            method = f"mean, symmetric cluster bootstrap-t, {n_resamples} resamples"
            return _estimate(sums, half, spread.se, level, n_missing, method, ())
    half = t_interval(0.0, spread.se, spread.df, level=level).high
    note = f"{sums.n_clusters} clusters: too few to resample at level {level:g}"
    return _estimate(sums, half, spread.se, level, n_missing, "mean, CR2 + Satterthwaite by cluster", (note,))


def _linearised_se(sums: ClusterSums) -> float:
    return math.sqrt(float(np.sum(sums.residual_sums**2))) / float(sums.sizes.sum())


def _bootstrap_t_quantile(sums: ClusterSums, *, level: float, rng: np.random.Generator, n_resamples: int) -> float:
    """The `level` quantile of |t*|; a resample without spread counts as infinitely far unless it hits the mean."""
    residuals, sizes = sums.residual_sums, sums.sizes
    moments = np.column_stack([residuals, sizes, residuals**2, residuals * sizes, sizes**2])  # [clusters, 5]
    blocks = [counts @ moments for counts in cluster_counts(len(sizes), n_resamples=n_resamples, rng=rng)]
    distances = _studentised_distances(np.concatenate(blocks), tiny=1e-12 * float(np.sum(residuals**2)))
    rank = min(n_resamples, math.ceil((n_resamples + 1) * level)) - 1
    return float(np.partition(distances, rank)[rank])


def _studentised_distances(moments: Floats, *, tiny: float) -> Floats:
    """|t*| per resample from its sums [resamples, 5]: r, n, r², r·n, n², with r the residual sums."""
    r, n, r2, rn, n2 = moments.T
    shift = r / n  # resampled mean − mean
    squares = r2 - 2 * shift * rn + shift**2 * n2
    flat = squares <= tiny
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.abs(r) / np.sqrt(np.where(flat, 0.0, squares))
    return np.where(flat, np.where(r**2 <= tiny, 0.0, np.inf), distances)


def _estimate(
    sums: ClusterSums,
    half: float | None,
    se: float | None,
    level: float,
    n_missing: int,
    method: str,
    notes: tuple[str, ...],
) -> Estimate:
    return Estimate(
        value=sums.mean,
        low=None if half is None else sums.mean - half,
        high=None if half is None else sums.mean + half,
        level=level,
        n=sums.n,
        n_clusters=sums.n_clusters,
        n_missing=n_missing,
        method=method,
        se=se,
        notes=notes,
    )
