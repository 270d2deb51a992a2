"""Shares of rows: rates, win rates, concordance, odds. Intervals stay inside [0, 1] and count clusters, not rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.intervals import Interval, share_interval, skewness, t_quantile, widening
from harness.stats.outcomes import ONE_CLUSTER, t_estimate
from harness.stats.paired import cr2_variance, is_constant
from harness.stats.rows import (
    Labels,
    check_columns,
    check_level,
    check_n_missing,
    code_labels,
    join_notes,
    sum_clusters,
)
from harness.types import Estimate

CORRECTED = "0 or all in one text: half a row added to each cell"
NO_SPREAD = "no spread between clusters"
NO_VARIANCE = "no variance between clusters: each counted as one trial"
RARE_RATE = 0.10  # with a rate this close to 0 or 1 …
RARE_CLUSTERS = 20  # … and fewer clusters than this, no method reaches its nominal coverage


def proportion_estimate(
    hits: ArrayLike,
    *,
    clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
    method: str = "share, CR2 + Satterthwaite by cluster, logit t",
    row: str = "",
    cluster: str = "",
) -> Estimate:
    """Share of rows with `hits` [n] (0, 1, or ½ for a tie), with a t interval on the logit scale.

    The standard error is CR2's, widened by the skewness of the cluster sums (`skew`), which a rare event in few films
    brings; the degrees of freedom are Satterthwaite's. In simulation (docs/calibration.md) this comes closer to nominal
    than plain CR2, Wilson with an effective sample size, or BCa; where all clusters agree, each counts as one trial and
    the interval is Clopper–Pearson's. A rate under 10 % (or over 90 %) in fewer than 20 clusters carries a warning.
    `row` and `cluster` name what one of each is, where that is not plain (`Estimate`).
    """
    (array,) = check_columns(hits=hits, clusters=clusters)
    if array.min() < 0 or array.max() > 1:
        raise InputError(f"`hits` must lie in [0, 1], got {array.min():g} to {array.max():g}: compare with a threshold")
    sums = sum_clusters(array, code_labels("clusters", clusters))
    spread = cr2_variance(sums) if sums.n_clusters > 1 else None
    se = None
    if spread is not None:
        se = 0.0 if is_constant(sums, scale=1.0) else spread.se * widening(skewness(sums.residual_sums))
    estimate = share_estimate(
        sums.mean,
        se,
        df=math.inf if spread is None else spread.df,
        n=sums.n,
        n_clusters=sums.n_clusters,
        n_effective=sums.n_clusters,
        level=check_level(level),
        n_missing=check_n_missing(n_missing),
        method=method,
    )
    return replace(estimate, row=row, cluster=cluster)


def wilson_interval(hits: float, trials: float, *, level: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for independent trials; not for rows that share a film or a rater."""
    check_level(level)
    if not (trials > 0 and 0 <= hits <= trials):
        raise InputError(
            f"`hits` must lie between 0 and `trials`, got {hits:g} of {trials:g}: count the decisive votes"
        )
    z2 = t_quantile((1 + level) / 2, math.inf) ** 2
    share = hits / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half))


def share_estimate(
    share: float,
    se: float | None,
    *,
    df: float,
    n: int,
    n_clusters: int,
    n_effective: int,
    level: float,
    n_missing: int,
    method: str,
) -> Estimate:
    """An Estimate of a share from its standard error (None: one cluster); `n_effective` trials where it is 0."""
    share = float(np.clip(share, 0.0, 1.0))
    ends = None if se is None else share_interval(share, se, df, n_clusters=n_effective, level=level)
    is_rare = min(share, 1 - share) < RARE_RATE and n_clusters < RARE_CLUSTERS and se is not None
    return Estimate(
        value=share,
        low=None if ends is None else ends.low,
        high=None if ends is None else ends.high,
        level=level,
        n=n,
        n_clusters=n_clusters,
        n_missing=n_missing,
        method=method,
        df=None if se is None else df,
        se=se,
        notes=join_notes(
            [
                ONE_CLUSTER if se is None else "",
                NO_VARIANCE if se == 0 else "",
                f"rare in {n_clusters} clusters: clusters without a hit say little" if is_rare else "",
            ]
        ),
    )


def within_range(estimate: Estimate, *, low: float, high: float) -> Estimate:
    """An interval of a rate, or of a difference of rates, without the part that none can have: coverage stays."""
    if estimate.low is None or estimate.high is None or (estimate.low >= low and estimate.high <= high):
        return estimate
    notes = (*estimate.notes, "cut at the end of what a share can be")
    return replace(estimate, low=max(low, estimate.low), high=min(high, estimate.high), notes=notes)


def log_odds_ratio(first: ArrayLike, second: ArrayLike, *, clusters: Labels, level: float = 0.95) -> Estimate:
    """How much likelier a feature is in one of two paired texts: log odds in `first` [n] − `second` [n], 0 or 1 each.

    The variance is that of the linearised estimator, summed within clusters and multiplied by G / (G − 1) (Liang &
    Zeger 1986, doi:10.1093/biomet/73.1.13, for the saturated logistic model of side); t with G − 1 degrees of freedom.
    Where a side has the feature in no row or in all, half a row is added to each cell (Haldane 1956), and the note says
    so. Raises InputError on values other than 0 and 1, unequal lengths or no rows.
    """
    one, two = check_columns(first=first, second=second, clusters=clusters)
    check_level(level)
    if not (np.isin(one, (0, 1)).all() and np.isin(two, (0, 1)).all()):
        raise InputError("`first` and `second` must be 0 or 1 in every row: whether a text has the feature")
    coded = code_labels("clusters", clusters)
    n, n_clusters = len(one), coded.n_labels
    is_bare = any(side.min() == side.max() for side in (one, two))
    shares = [(side.sum() + 0.5) / (n + 1) if is_bare else side.mean() for side in (one, two)]
    value = float(np.log(shares[0] / (1 - shares[0])) - np.log(shares[1] / (1 - shares[1])))
    pulls = [(side - p) / (p * (1 - p)) / n for side, p in zip((one, two), shares, strict=True)]
    sums = np.bincount(coded.codes, weights=pulls[0] - pulls[1])
    se = math.sqrt(n_clusters / (n_clusters - 1) * float(np.sum(sums**2))) if n_clusters > 1 else None
    notes = [] if se is None else [CORRECTED if is_bare else "", NO_SPREAD if se == 0 else ""]
    return t_estimate(
        value,
        se,
        n_clusters - 1.0,
        n=n,
        n_clusters=n_clusters,
        level=level,
        method="log odds ratio, linearised, clustered, t",
        notes=join_notes(notes),
    )
