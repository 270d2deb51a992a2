"""Paired contrasts: the mean of `treatment − control`, row by row, with errors clustered (by film).

Cluster-robust variance CR2 and Satterthwaite degrees of freedom of Bell & McCaffrey (2002), in the notation of
Pustejovsky & Tipton (2018, doi:10.1080/07350015.2016.1247004); working model: independent errors of equal variance. For
a mean both have a closed form. With cluster sizes n_g, N rows, residual sums S_g = Σ(d − d̄) and c_g = 1 / (1 − n_g/N):

    V  = Σ c_g S_g² / N²
    df = N² / (Σ n_g² + [(Σ c_g n_g²)² − Σ c_g² n_g⁴] / N²)

since A_g 1 = √c_g 1 (the ones vector is an eigenvector of I − H_gg = I − 11ᵀ/N), and the Satterthwaite matrix has
n_g on its diagonal and −√(c_g c_h) n_g n_h / N off it. With one row a cluster this is the ordinary paired t test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.intervals import t_interval, t_p_value
from harness.stats.outcomes import ONE_CLUSTER, TestResult
from harness.stats.rows import (
    ClusterSums,
    Labels,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
    join_notes,
    sum_clusters,
)
from harness.stats.skew import equivalence_ends, skewness
from harness.types import Estimate

METHOD = "paired difference, CR2 + Satterthwaite by cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterVariance:
    """Variance of a mean and the degrees of freedom it is known with."""

    variance: float
    df: float

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)


def paired_contrast(
    treatment: ArrayLike, control: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> TestResult:
    """Mean of `treatment − control` over aligned rows, with CR2 + Satterthwaite interval and two-sided t test.

    Args:
        treatment: [n] values of the first arm.
        control: [n] values of the second arm; row i is the same prompt as row i of `treatment`.
        clusters: [n] the unit that is resampled (the film).
        n_missing: pairs that should have entered and are missing; reported, not used.

    With one cluster the estimate comes without interval and p value. When every cluster shows exactly the same mean
    difference there is no variance to test against: the interval is degenerate and, unless the difference is 0, the
    p value is the sign-flip one, 2 / 2^clusters. Raises InputError on NaN, unequal lengths or no rows.
    """
    first, second = check_values("treatment", treatment), check_values("control", control)
    check_same_length(treatment=first, control=second, clusters=clusters)
    return contrast_of_differences(
        first - second,
        clusters=clusters,
        level=check_level(level),
        n_missing=check_n_missing(n_missing),
        scale=float(max(np.abs(first).max(), np.abs(second).max())),
    )


def contrast_of_differences(
    differences: ArrayLike,
    *,
    clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
    scale: float | None = None,
    method: str = METHOD,
) -> TestResult:
    """`paired_contrast` for differences that were already taken; `scale` is the size of the numbers subtracted."""
    values = check_values("differences", differences)
    check_same_length(differences=values, clusters=clusters)
    check_level(level)
    check_n_missing(n_missing)
    sums = sum_clusters(values, code_labels("clusters", clusters))
    size = float(np.abs(values).max()) if scale is None else scale
    if sums.n_clusters == 1:
        return TestResult(
            estimate=_estimate(sums, None, level, n_missing, method), p_value=None, statistic=None, note=ONE_CLUSTER
        )
    spread = cr2_variance(sums)
    if is_constant(sums, scale=size):
        return _without_variance(sums, level, n_missing, method, size)
    statistic = sums.mean / spread.se
    return TestResult(
        estimate=_estimate(sums, spread, level, n_missing, method),
        p_value=t_p_value(statistic, spread.df),
        statistic=statistic,
    )


def cr2_variance(sums: ClusterSums) -> ClusterVariance:
    """CR2 variance of a clustered mean and its Satterthwaite degrees of freedom; needs two clusters."""
    n, sizes = sums.sizes.sum(), sums.sizes
    inflation = 1 / (1 - sizes / n)
    variance = float(np.sum(inflation * sums.residual_sums**2) / n**2)
    cross = np.sum(inflation * sizes**2) ** 2 - np.sum(inflation**2 * sizes**4)
    df = float(n**2 / (np.sum(sizes**2) + cross / n**2))
    return ClusterVariance(variance=variance, df=df)


def is_constant(sums: ClusterSums, *, scale: float) -> bool:
    """Whether no cluster's mean differs from the mean beyond rounding (numbers of size `scale` were added up)."""
    return bool(np.all(np.abs(sums.residual_sums) <= 1e-12 * scale * sums.sizes))


def _without_variance(sums: ClusterSums, level: float, n_missing: int, method: str, scale: float) -> TestResult:
    flat = ClusterVariance(variance=0.0, df=float(sums.n_clusters - 1))
    estimate = _estimate(sums, flat, level, n_missing, method)
    if abs(sums.mean) <= 1e-12 * scale:
        return TestResult(
            estimate=estimate, p_value=1.0, statistic=0.0, note="the arms do not differ in any cluster: zero variance"
        )
    note = "every cluster shows the same difference: degenerate interval, sign-flip p value"
    return TestResult(estimate=estimate, p_value=2.0 ** (1 - sums.n_clusters), statistic=None, note=note)


def _estimate(sums: ClusterSums, spread: ClusterVariance | None, level: float, n_missing: int, method: str) -> Estimate:
    ends = None if spread is None else t_interval(sums.mean, spread.se, spread.df, level=level)
    is_flat = spread is not None and spread.variance == 0
    equivalence = None
    if spread is not None and not is_flat:
        gamma = skewness(sums.residual_sums)
        equivalence = equivalence_ends(
            sums.mean, spread.se, spread.df, gamma=gamma, n_clusters=sums.n_clusters, level=level
        )
    return Estimate(
        value=sums.mean,
        low=None if ends is None else ends.low,
        high=None if ends is None else ends.high,
        level=level,
        n=sums.n,
        n_clusters=sums.n_clusters,
        n_missing=n_missing,
        method=method,
        df=None if spread is None else spread.df,
        se=None if spread is None else spread.se,
        notes=join_notes([ONE_CLUSTER if spread is None else "", "no variance between clusters" if is_flat else ""]),
        equivalence=equivalence,
    )
