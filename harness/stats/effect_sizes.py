"""Effects without a unit, and smallest effects turned into the unit of the data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.discrimination import concordance, roc_auc
from harness.stats.intervals import t_interval
from harness.stats.paired import paired_contrast
from harness.stats.quantiles import quantile_of_sorted
from harness.stats.rows import Floats, Labels, check_positive, check_same_length, check_values, code_labels
from harness.types import Estimate, SmallestEffect


def cohens_dz(
    treatment: ArrayLike, control: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> Estimate:
    """Mean paired difference in units of the standard deviation of the differences, mean(d) / sd(d).

    The interval follows from the clustered variance of the linearised ratio (delta method), with the degrees of
    freedom of the mean. Depends on how alike the arms are: for effects across experiments prefer `sd_of_control`.
    """
    base = paired_contrast(treatment, control, clusters=clusters, level=level, n_missing=n_missing).estimate
    differences = check_values("treatment", treatment) - check_values("control", control)
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if spread <= 1e-12 * max(1e-300, abs(base.value)):
        raise InputError("`treatment − control` must vary, got one value on every row: dz is not defined")
    value = base.value / spread
    influence = (differences - base.value) / spread - value * ((differences - base.value) ** 2 / spread**2 - 1) / 2
    zeros = np.zeros(len(differences))
    ratio = paired_contrast(value + influence, zeros, clusters=clusters, level=level).estimate
    method = "Cohen's dz, CR2 + Satterthwaite by cluster, delta method"
    if ratio.se is None or ratio.df is None:
        return replace(base, value=value, equivalence=None, method=method)
    ends = t_interval(value, ratio.se, ratio.df, level=level)
    return replace(
        ratio, value=value, low=ends.low, high=ends.high, equivalence=None, n_missing=n_missing, method=method
    )


def cliffs_delta(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    treatment_clusters: Labels,
    control_clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
) -> Estimate:
    """P(treatment > control) − P(treatment < control) over all pairs of rows, paired or not: 2 · AUC − 1."""
    area = roc_auc(
        treatment,
        control,
        positive_clusters=treatment_clusters,
        negative_clusters=control_clusters,
        level=level,
        n_missing=n_missing,
    )
    return replace(
        area,
        value=2 * area.value - 1,
        low=None if area.low is None else 2 * area.low - 1,
        high=None if area.high is None else 2 * area.high - 1,
        se=None if area.se is None else 2 * area.se,
        method="Cliff's delta, clustered structural components, logit t",
    )


def superiority(
    treatment: ArrayLike, control: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> Estimate:
    """Probability of superiority: share of aligned rows in which the treatment is higher, ties half."""
    estimate = concordance(treatment, control, clusters=clusters, level=level, n_missing=n_missing)
    return replace(estimate, method="probability of superiority, CR2 + Satterthwaite by cluster, logit t")


def smallest_effect_in_units(smallest: SmallestEffect, control: ArrayLike) -> float:
    """The smallest effect in the unit of the scores, above 0.

    `points`, `bits_per_byte`, `share` and `nats` are that unit already. `sd_of_control` is multiplied by the standard
    deviation of the control arm's rows. `quantile_of_control`, a share s between 0 and 0.5, is the distance from the
    control's median to its 0.5 + s quantile (0.1: from the 50th to the 60th percentile).
    """
    value = check_positive("smallest_effect", smallest.value)
    if smallest.unit not in ("sd_of_control", "quantile_of_control"):
        return value
    scores = check_values("control", control, minimum=2)
    effect = value * float(scores.std(ddof=1)) if smallest.unit == "sd_of_control" else _quantile_step(scores, value)
    if effect <= 0:
        raise InputError(
            f"`smallest_effect` of {value:g} {smallest.unit} must be above 0, got 0 since the control hardly varies: "
            "declare it in points"
        )
    return effect


def _quantile_step(scores: Floats, share: float) -> float:
    if share >= 0.5:
        raise InputError(
            f"`smallest_effect` in quantile_of_control must lie between 0 and 0.5, got {share:g}: 0.1 is usual"
        )
    ordered = np.sort(scores)
    return quantile_of_sorted(ordered, 0.5 + share) - quantile_of_sorted(ordered, 0.5)


def intraclass_correlation(values: ArrayLike, *, clusters: Labels) -> float:
    """One-way ICC of rows within clusters: ANOVA estimator for unequal sizes, at least 0. For planning, not a claim."""
    array = check_values("values", values, minimum=3)
    check_same_length(values=array, clusters=clusters)
    coded = code_labels("clusters", clusters)
    sizes = np.bincount(coded.codes).astype(np.float64)
    n, groups = len(array), coded.n_labels
    if groups < 2 or n == groups:
        raise InputError(
            f"`clusters` must be at least 2 with more rows than clusters, got {groups} with {n} rows: the intraclass "
            "correlation needs rows that share a cluster"
        )
    means = np.bincount(coded.codes, weights=array) / sizes
    between = float(np.sum(sizes * (means - array.mean()) ** 2)) / (groups - 1)
    within = float(np.sum((array - means[coded.codes]) ** 2)) / (n - groups)
    typical = (n - float(np.sum(sizes**2)) / n) / (groups - 1)
    total = between + (typical - 1) * within
    return 0.0 if total <= 0 or math.isclose(between, within) else max(0.0, (between - within) / total)
