"""Paired contrasts: the mean of `treatment − control`, row by row, with errors clustered (by film).

Cluster-robust variance CR2 and Satterthwaite degrees of freedom of Bell & McCaffrey (2002), in the notation of
Pustejovsky & Tipton (2018, doi:10.1080/07350015.2016.1247004); working model: independent errors of equal variance. For
a mean both have a closed form. With cluster sizes n_g, N rows, residual sums S_g = Σ(d − d̄) and c_g = 1 / (1 − n_g/N):

    V  = Σ c_g S_g² / N²
    df = N² / (Σ n_g² + [(Σ c_g n_g²)² − Σ c_g² n_g⁴] / N²)

since A_g 1 = √c_g 1 (the ones vector is an eigenvector of I − H_gg = I − 11ᵀ/N), and the Satterthwaite matrix has
n_g on its diagonal and −√(c_g c_h) n_g n_h / N off it. With one row a cluster this is the ordinary paired t test.

The sign-flip test by cluster asks: what if the arms' names had been swapped, film by film? It tests that the arms are
exchangeable within clusters (their paired differences are symmetric about 0), not that a mean is 0 under skew. It is
exact, and therefore coarse: with G clusters no p value is below 2 / 2^G, so that a family of k contrasts at level 0.95
can be decided only from G with 2 / 2^G ≤ 0.05 / k: 6 clusters for one, 9 for ten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.intervals import equivalence_ends, skewness
from harness.stats.outcomes import TestResult, t_estimate, t_test
from harness.stats.rows import (
    ClusterSums,
    Floats,
    Labels,
    check_columns,
    check_count,
    check_level,
    check_n_missing,
    check_values,
    code_labels,
    sum_clusters,
)
from harness.types import Estimate

MAX_EXACT_CLUSTERS = 16  # 65,536 sign patterns; above that they are drawn at random
TESTS_EXCHANGEABILITY = "tests exchangeability of the arms within clusters, not a mean under skew"
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


def sign_flip(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    family_size: int = 1,
    level: float = 0.95,
    n_missing: int = 0,
    n_flips: int = 100_000,
) -> TestResult:
    """`paired_contrast` with the p value of the sign-flip test, where enough clusters make one reachable.

    The statistic is the mean difference; the differences of one cluster change sign together. Up to 16 clusters all
    patterns are counted, above that `n_flips` are drawn and the observed one is counted among them. Where
    2 / 2^clusters > (1 − level) / family_size the CR2-t p value stays, with a note.
    """
    check_level(level)
    check_count("family_size", family_size)
    check_count("n_flips", n_flips, minimum=99)
    base = paired_contrast(treatment, control, clusters=clusters, level=level, n_missing=n_missing)
    n_clusters = base.estimate.n_clusters
    if not is_reachable(n_clusters, family_size=family_size, level=level):
        note = f"{n_clusters} clusters cannot reach p ≤ {(1 - level) / family_size:.2g} by sign-flipping: CR2-t p value"
        return replace(base, note="; ".join(filter(None, [base.note, note])))
    differences = check_values("treatment", treatment) - check_values("control", control)
    sums = sum_clusters(differences, code_labels("clusters", clusters)).sums
    p_value = _exact_p_value(sums) if len(sums) <= MAX_EXACT_CLUSTERS else _drawn_p_value(sums, rng, n_flips)
    return replace(base, p_value=p_value, note=TESTS_EXCHANGEABILITY)


def is_reachable(n_clusters: int, *, family_size: int = 1, level: float = 0.95) -> bool:
    """Whether the smallest possible sign-flip p value can pass in a family of that size."""
    return 2.0 ** (1 - n_clusters) <= (1 - level) / family_size


def require_reachable(n_clusters: int, *, family_size: int = 1, level: float = 0.95) -> None:
    """Refuse a plan that declares sign-flip tests which could never be significant."""
    if not is_reachable(n_clusters, family_size=family_size, level=level):
        needed = math.ceil(1 + math.log2(family_size / (1 - level)) - 1e-9)
        raise InputError(
            f"`clusters` must be at least {needed} for a sign-flip test in a family of {family_size}, got "
            f"{n_clusters}: add clusters, declare fewer contrasts, or use the CR2-t test"
        )


def _exact_p_value(sums: Floats) -> float:
    """Share of all 2^G sign patterns whose total is at least as extreme; half of them, the other half mirrors it."""
    totals = np.array([abs(float(sums[0]))])
    for size in np.abs(sums[1:]):
        totals = np.concatenate([totals + size, totals - size])
    observed = abs(float(sums.sum()))
    return float(np.mean(np.abs(totals) >= observed - _rounding(sums)))


def _drawn_p_value(sums: Floats, rng: np.random.Generator, n_flips: int) -> float:
    observed = abs(float(sums.sum()))
    n_extreme = 0
    block = max(1, 4_000_000 // len(sums))
    for start in range(0, n_flips, block):
        signs = rng.integers(0, 2, size=(min(block, n_flips - start), len(sums)), dtype=np.int8)
        totals = 2 * (signs @ sums) - sums.sum()
        n_extreme += int(np.count_nonzero(np.abs(totals) >= observed - _rounding(sums)))
    return (1 + n_extreme) / (1 + n_flips)


def _rounding(sums: Floats) -> float:
    """What adding the sums in another order may change: patterns this close count as equal."""
    return 1e-12 * float(np.abs(sums).sum())
