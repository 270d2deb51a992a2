"""Quantiles of one arm, clustered: Woodruff's interval (1952, doi:10.1080/01621459.1952.10483443)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.intervals import share_interval
from harness.stats.outcomes import ONE_CLUSTER
from harness.stats.paired import cr2_variance
from harness.stats.rows import (
    Floats,
    Labels,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
    sum_clusters,
)
from harness.types import Estimate

UNBOUNDED = "too few clusters beyond this quantile: the interval ends at the most extreme row"


def quantile_estimate(
    values: ArrayLike, probability: float, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> Estimate:
    """The `probability` quantile of `values` [n]: the smallest value with at least that share of rows at or below it.

    The interval of the share of rows at or below the quantile (CR2, logit t) is turned into values through the
    empirical distribution. Where it reaches past the data, the end is the most extreme row, with a note. On 1–5 scores
    quantiles jump by whole points: report rates (`proportion_estimate`) there instead.
    """
    array = check_values("values", values, minimum=2)
    check_same_length(values=array, clusters=clusters)
    check_probability(probability)
    check_level(level)
    ordered = np.sort(array)
    value = quantile_of_sorted(ordered, probability)
    sums = sum_clusters((array <= value).astype(np.float64), code_labels("clusters", clusters))
    low = high = None
    notes: tuple[str, ...] = (ONE_CLUSTER,)
    df = None
    if sums.n_clusters > 1:
        spread = cr2_variance(sums)
        df = spread.df
        ends = share_interval(probability, spread.se, df, n_clusters=sums.n_clusters, level=level)
        low, high = quantile_of_sorted(ordered, ends.low), quantile_of_sorted(ordered, ends.high)
        is_short = ends.low * len(array) < 1 or (1 - ends.high) * len(array) < 1
        notes = (UNBOUNDED,) if is_short else ()
    return Estimate(
        value=value,
        low=low,
        high=high,
        level=level,
        n=len(array),
        n_clusters=sums.n_clusters,
        n_missing=check_n_missing(n_missing),
        method=f"{probability:g} quantile, Woodruff with CR2 by cluster",
        df=df,
        notes=notes,
    )


def quantile_of_sorted(ordered: Floats, probability: float) -> float:
    """Inverse of the empirical distribution of sorted values (type 1)."""
    rank = math.ceil(round(probability * len(ordered), 9))
    return float(ordered[min(len(ordered), max(1, rank)) - 1])


def interpolated_quantiles(ordered: Sequence[float], probabilities: Sequence[float]) -> tuple[float, ...]:
    """Quantiles of sorted values, interpolated linearly (Hyndman & Fan 1996, type 7): for pictures of many rows."""
    return tuple(np.quantile(np.asarray(ordered, dtype=np.float64), probabilities, method="linear").tolist())


def check_probability(probability: float) -> float:
    """`probability` strictly between 0 and 1."""
    if not 0 < probability < 1:
        raise InputError(f"`probability` must lie between 0 and 1, got {probability}: 0.1 is the low tail")
    return float(probability)
