"""Rank tests of paired rows, clustered: Wilcoxon's signed ranks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from harness.errors import InputError
from harness.stats.intervals import t_p_value
from harness.stats.results import TestResult, fisher_estimate
from harness.stats.rows import (
    Floats,
    Labels,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
)
from harness.types import Estimate


def wilcoxon(
    treatment: ArrayLike, control: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> TestResult:
    """Wilcoxon's signed-rank test for clustered pairs; the effect is the matched-pairs rank-biserial correlation.

    Signed ranks R_i of the non-zero differences (mid-ranks for ties) are summed per cluster; under exchangeable arms
    the sums T_g have mean 0 and Z = Σ T_g / √Σ T_g² (Rosner, Glynn & Lee 2003, Biometrics 59:1089). With one row a
    cluster that is Wilcoxon's own normal approximation. The estimate Σ T_g / Σ |R_i| lies in [−1, 1]; its interval is a
    t interval (clusters − 1) on Fisher's z scale from the clustered spread of T_g around it, an approximation that
    takes the ranks as given. Tests symmetry about 0, not a mean. Raises InputError when all differences are 0.
    """
    first, second = check_values("treatment", treatment), check_values("control", control)
    check_same_length(treatment=first, control=second, clusters=clusters)
    check_level(level)
    differences = first - second
    is_apart = differences != 0
    if not is_apart.any():
        raise InputError("`treatment` and `control` must differ somewhere, got all ties: there is nothing to rank")
    coded = code_labels("clusters", clusters)
    ranks = np.zeros(len(differences))
    ranks[is_apart] = rankdata(np.abs(differences[is_apart]))
    parts = (np.sign(differences) * ranks, ranks)
    signed, total = (
        np.asarray(np.bincount(coded.codes, weights=part, minlength=coded.n_labels), dtype=np.float64) for part in parts
    )
    null_se = math.sqrt(float(signed @ signed))
    statistic = float(signed.sum()) / null_se if null_se > 0 else 0.0
    n_ties = int(np.count_nonzero(~is_apart))
    estimate = _rank_biserial(signed, total, n=len(differences), n_missing=check_n_missing(n_missing), level=level)
    if n_ties:
        estimate = replace(estimate, notes=(*estimate.notes, f"{n_ties} ties left out of the ranks"))
    p_value = None if coded.n_labels == 1 else t_p_value(statistic, math.inf)
    return TestResult(
        estimate=estimate, p_value=p_value, statistic=statistic, note="tests symmetry about 0, not a mean"
    )


def _rank_biserial(signed: Floats, total: Floats, *, n: int, n_missing: int, level: float) -> Estimate:
    """Σ signed ranks / Σ ranks from their sums per cluster; the ranks are taken as given."""
    n_clusters, effect = len(signed), float(signed.sum() / total.sum())
    se = None
    if n_clusters > 1 and abs(effect) < 1:
        spread = signed - effect * total
        se = math.sqrt(float(spread @ spread) * n_clusters / (n_clusters - 1)) / float(total.sum())
    return fisher_estimate(
        effect,
        se,
        n=n,
        n_clusters=n_clusters,
        n_missing=n_missing,
        level=level,
        method="matched-pairs rank-biserial correlation, clustered signed ranks",
        perfect="all differences point one way: no interval",
    )
