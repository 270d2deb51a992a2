"""How well a score tells positives from negatives: unpaired ROC AUC and paired concordance, clustered."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.proportions import proportion_estimate, share_estimate
from harness.stats.rows import (
    Floats,
    Labels,
    check_columns,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
)
from harness.types import Estimate


def roc_auc(
    positives: ArrayLike,
    negatives: ArrayLike,
    *,
    positive_clusters: Labels,
    negative_clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
) -> Estimate:
    """P(score of a positive > score of a negative), ties half, over all pairs; interval clustered.

    Variance by the structural components of DeLong, summed per cluster (Obuchowski 1997, Biometrics 53:567),
    which also counts the covariance of positives and negatives that share a cluster. The interval is a t interval on
    the logit scale; degrees of freedom: the smaller number of clusters on a side, minus 1. With no variance at all
    (perfect separation, all tied) each cluster counts as one trial and the interval is Clopper–Pearson's.

    Args:
        positives: [m] scores that should be high (true replies).
        negatives: [n] scores that should be low (controls); not paired with `positives`.
        positive_clusters: [m] films; the same label on both sides is the same film.
        negative_clusters: [n] films.
        n_missing: scores of either side that are missing.
    """
    high, low = check_values("positives", positives), check_values("negatives", negatives)
    check_same_length(positives=high, positive_clusters=positive_clusters)
    check_same_length(negatives=low, negative_clusters=negative_clusters)
    check_level(level)
    m, n = len(high), len(low)
    codes = code_labels("clusters", [*positive_clusters, *negative_clusters]).codes
    above = _share_below(high, low)  # [m] for each positive, the share of negatives below it
    auc = float(above.mean())
    parts = np.concatenate([(above - auc) / m, (1 - _share_below(low, high) - auc) / n])
    n_high, n_low = len(np.unique(codes[:m])), len(np.unique(codes[m:]))
    n_clusters = len(np.unique(codes))
    has_interval = min(n_high, n_low) > 1
    se = _clustered_se(parts, codes, m=m, n_high=n_high, n_low=n_low, n_all=n_clusters) if has_interval else None
    return share_estimate(
        auc,
        se,
        df=min(n_high, n_low) - 1,
        n=m + n,
        n_clusters=n_clusters,
        n_effective=min(n_high, n_low),
        level=level,
        n_missing=check_n_missing(n_missing),
        method="ROC AUC, clustered structural components (Obuchowski), logit t",
    )


def concordance(
    positives: ArrayLike, negatives: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> Estimate:
    """Share of aligned pairs in which the positive scores higher, ties half; CR2 on the logit scale, clustered.

    With no variance between clusters each counts as one trial and the interval is Clopper–Pearson's.
    """
    high, low = check_columns(positives=positives, negatives=negatives, clusters=clusters)
    return proportion_estimate(
        (np.sign(high - low) + 1) / 2,
        clusters=clusters,
        level=level,
        n_missing=n_missing,
        method="paired concordance, CR2 + Satterthwaite by cluster, logit t",
    )


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each of `values`, the share of `others` below it, ties half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return (below + up_to) / (2 * len(others))


def _clustered_se(
    parts: Floats, codes: np.ndarray[tuple[int], np.dtype[np.intp]], *, m: int, n_high: int, n_low: int, n_all: int
) -> float:
    """Square root of S10/M + S01/N + 2 S11/MN, with each sum of products over clusters scaled by I / (I − 1)."""
    size = int(codes.max()) + 1
    high = np.bincount(codes[:m], weights=parts[:m], minlength=size)
    low = np.bincount(codes[m:], weights=parts[m:], minlength=size)
    variance = (
        n_high / (n_high - 1) * float(high @ high)
        + n_low / (n_low - 1) * float(low @ low)
        + 2 * n_all / (n_all - 1) * float(high @ low)
    )
    return math.sqrt(variance) if variance > 1e-24 else 0.0
