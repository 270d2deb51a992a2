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
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.intervals import equivalence_ends, skewness
from harness.stats.outcomes import TestResult, t_estimate, t_test
from harness.stats.rows import (
    ClusterSums,
    Floats,
    Labels,
    check_columns,
    check_level,
    check_n_missing,
    code_labels,
    sum_clusters,
)
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
    first, second = check_columns(treatment=treatment, control=control, clusters=clusters)
    return contrast_of_differences(
        first - second,
        clusters=clusters,
        level=level,
        n_missing=n_missing,
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
    (values,) = check_columns(differences=differences, clusters=clusters)
    sums = sum_clusters(values, code_labels("clusters", clusters))
    size = float(np.abs(values).max()) if scale is None else scale
    about = partial(
        t_estimate,
        sums.mean,
        n=sums.n,
        n_clusters=sums.n_clusters,
        level=check_level(level),
        method=method,
        n_missing=check_n_missing(n_missing),
    )
    if sums.n_clusters == 1:
        return t_test(about(None, None))
    if is_constant(sums, scale=size):
        flat = about(0.0, sums.n_clusters - 1.0, notes=("no variance between clusters",))
        return _without_variance(flat, is_zero=abs(sums.mean) <= 1e-12 * size)
    spread, gamma = cr2_variance(sums), skewness(sums.residual_sums)
    ends = equivalence_ends(sums.mean, spread.se, spread.df, gamma=gamma, n_clusters=sums.n_clusters, level=level)
    return t_test(replace(about(spread.se, spread.df), equivalence=ends))


def cr2_variance(sums: ClusterSums) -> ClusterVariance:
    """CR2 variance of a clustered mean and its Satterthwaite degrees of freedom; needs two clusters."""
    variance, df = cr2(sums.residual_sums, sums.sizes)
    return ClusterVariance(variance=float(variance), df=float(df))


def cr2(residual_sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Variances and degrees of freedom [...] from residual sums and sizes [..., clusters]; formulas: top of module."""
    n = sizes.sum(axis=-1, keepdims=True)
    c = 1 / (1 - sizes / n)
    squared = n[..., 0] ** 2
    variance = np.sum(c * residual_sums**2, axis=-1) / squared
    cross = np.sum(c * sizes**2, axis=-1) ** 2 - np.sum(c**2 * sizes**4, axis=-1)
    return variance, squared / (np.sum(sizes**2, axis=-1) + cross / squared)


def is_constant(sums: ClusterSums, *, scale: float) -> bool:
    """Whether no cluster's mean differs from the mean beyond rounding (numbers of size `scale` were added up)."""
    return bool(np.all(np.abs(sums.residual_sums) <= 1e-12 * scale * sums.sizes))


def _without_variance(estimate: Estimate, *, is_zero: bool) -> TestResult:
    if is_zero:
        return TestResult(
            estimate=estimate, p_value=1.0, statistic=0.0, note="the arms do not differ in any cluster: zero variance"
        )
    note = "every cluster shows the same difference: degenerate interval, sign-flip p value"
    return TestResult(estimate=estimate, p_value=2.0 ** (1 - estimate.n_clusters), statistic=None, note=note)
