"""Bias-corrected and accelerated bootstrap for a clustered mean: only for many clusters and mild skew.

With few clusters BCa covers far too little (8 clusters, normal values: 86 % for 95 %), since it corrects skewness with
quantities that few clusters cannot tell. It is offered from 60 clusters on, for readers who expect it; `mean_estimate`
is the default everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from harness.errors import InputError
from harness.stats.intervals import Interval
from harness.stats.paired import cr2_variance
from harness.stats.rows import (
    ClusterSums,
    Labels,
    check_count,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    cluster_counts,
    code_labels,
    sum_clusters,
)
from harness.types import Estimate

MIN_CLUSTERS = 60
MAX_SKEW = 1.0  # of the clusters' contributions


def mean_estimate_bca(
    values: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 10_000,
) -> Estimate:
    """Mean of `values` with Efron's BCa interval (1987), whole clusters resampled.

    Raises InputError under 60 clusters or when the clusters' contributions are skewed by more than 1: use
    `mean_estimate` there.
    """
    array = check_values("values", values)
    check_same_length(values=array, clusters=clusters)
    check_count("n_resamples", n_resamples, minimum=1_000)
    sums = sum_clusters(array, code_labels("clusters", clusters))
    if sums.n_clusters < MIN_CLUSTERS:
        raise InputError(
            f"`clusters` must be at least {MIN_CLUSTERS} for BCa, got {sums.n_clusters}: use `mean_estimate`, whose "
            "interval holds with few clusters"
        )
    residuals = sums.residual_sums
    scale = float(np.mean(residuals**2)) ** 1.5
    skew = float(np.mean(residuals**3)) / scale if scale > 0 else 0.0
    if scale == 0 or abs(skew) > MAX_SKEW:
        raise InputError(
            f"`values` must vary with a skewness between clusters of at most {MAX_SKEW:g} for BCa, got {skew:.2f}: use "
            "`mean_estimate`"
        )
    ends = bca_interval(sums, rng=rng, level=check_level(level), n_resamples=n_resamples)
    return Estimate(
        value=sums.mean,
        low=ends.low,
        high=ends.high,
        level=level,
        n=sums.n,
        n_clusters=sums.n_clusters,
        n_missing=check_n_missing(n_missing),
        method=f"mean, cluster bootstrap BCa, {n_resamples} resamples",
        se=cr2_variance(sums).se,
    )


def bca_interval(sums: ClusterSums, *, rng: np.random.Generator, level: float, n_resamples: int) -> Interval:
    """The interval itself, without a look at whether it can be trusted; acceleration by the cluster jackknife."""
    columns = np.column_stack([sums.residual_sums, sums.sizes])
    drawn = np.concatenate(
        [counts @ columns for counts in cluster_counts(sums.n_clusters, n_resamples=n_resamples, rng=rng)]
    )
    shifts = np.sort(drawn[:, 0] / drawn[:, 1])
    below = (np.count_nonzero(shifts < 0) + np.count_nonzero(shifts <= 0)) / (2 * n_resamples)
    bias = float(special.ndtri(np.clip(below, 1 / n_resamples, 1 - 1 / n_resamples)))
    left_out = -sums.residual_sums / (sums.sizes.sum() - sums.sizes)  # mean without the cluster − mean
    centred = left_out.mean() - left_out
    spread = float(np.sum(centred**2)) ** 1.5
    acceleration = float(np.sum(centred**3)) / (6 * spread) if spread > 0 else 0.0
    ends = []
    for probability in ((1 - level) / 2, (1 + level) / 2):
        z = bias + float(special.ndtri(probability))
        ends.append(float(special.ndtr(bias + z / (1 - acceleration * z))))
    low, high = np.quantile(shifts, ends)
    return Interval(low=sums.mean + float(low), high=sums.mean + float(high))
