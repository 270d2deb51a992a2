"""Sign-flip test by cluster: what if the arms' names had been swapped, film by film?

It tests that the arms are exchangeable within clusters (their paired differences are symmetric about 0), not that a
mean is 0 under skew. It is exact, and therefore coarse: with G clusters no p value is below 2 / 2^G, so that a family
of k contrasts at level 0.95 can be decided only from G with 2 / 2^G ≤ 0.05 / k: 6 clusters for one, 9 for ten.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.outcomes import TestResult
from harness.stats.paired import paired_contrast
from harness.stats.rows import Floats, Labels, check_count, check_level, check_values, code_labels, sum_clusters

MAX_EXACT_CLUSTERS = 16  # 65,536 sign patterns; above that they are drawn at random
TESTS_EXCHANGEABILITY = "tests exchangeability of the arms within clusters, not a mean under skew"


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
            f"{n_clusters}: add films, declare fewer contrasts, or use the CR2-t test"
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
