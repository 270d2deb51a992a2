"""Quantiles of one arm, and where they move between two; does the low tail fall more than the peak rises?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from harness.errors import InputError
from harness.stats.intervals import share_interval
from harness.stats.outcomes import ONE_CLUSTER, TestResult
from harness.stats.paired import contrast_of_differences, cr2_variance
from harness.stats.proportions import within_range
from harness.stats.rows import (
    Codes,
    Floats,
    Labels,
    check_columns,
    check_count,
    check_level,
    check_n_missing,
    cluster_counts,
    code_labels,
    sum_clusters,
)
from harness.types import Estimate

Link = Literal["logit", "probit"]
LINKS: tuple[Link, ...] = ("logit", "probit")
MIN_DISTINCT = 20  # fewer different values: quantiles jump, and their bands mean nothing
UNBOUNDED = "too few clusters beyond this quantile: the interval ends at the most extreme row"


def quantile_estimate(
    values: ArrayLike, probability: float, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> Estimate:
    """The `probability` quantile of `values` [n]: the smallest value with at least that share of rows at or below it.

    Woodruff's interval (1952, doi:10.1080/01621459.1952.10483443): that of the share of rows at or below the quantile
    (CR2, logit t), turned into values through the empirical distribution. Where it reaches past the data, the end is
    the most extreme row, with a note. On 1–5 scores quantiles jump by whole points: report rates
    (`proportion_estimate`) there instead.
    """
    (array,) = check_columns(values=values, clusters=clusters, minimum=2)
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


def check_probability(probability: float) -> float:
    """`probability` strictly between 0 and 1."""
    if not 0 < probability < 1:
        raise InputError(f"`probability` must lie between 0 and 1, got {probability}: 0.1 is the low tail")
    return float(probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileContrast:
    """Differences of quantiles between two arms."""

    probabilities: tuple[float, ...]
    simultaneous: tuple[Estimate, ...]  # all of them together


@dataclass(frozen=True, slots=True, kw_only=True)
class TailAsymmetry:
    """Whether the low tail falls more than the peak rises, beyond what a common shift would do."""

    test: TestResult  # on the logit scale: fall of the low log-odds − rise of the high log-odds
    sensitivity: TestResult  # the same with probits
    low_change: Estimate  # treatment − control in the share at or below `low`: description, not a claim
    high_change: Estimate  # treatment − control in the share at or above `high`: description, not a claim


def tail_asymmetry(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    clusters: Labels,
    low: float = 2,
    high: float = 4,
    level: float = 0.95,
    n_missing: int = 0,
) -> TailAsymmetry:
    """Does the share at or below `low` fall more than the share at or above `high` rises, on a common latent scale?

    Under proportional odds (one latent shift of the whole distribution) the treatment changes the log-odds of
    "at or below low" by −Δ and of "at or above high" by +Δ. The statistic is their sum with the sign turned,

        −[logit P_t(≤ low) − logit P_c(≤ low)] − [logit P_t(≥ high) − logit P_c(≥ high)],

    0 under a common shift, positive when the low tail falls more than the peak rises: the arm's departure from
    proportional odds in a partial proportional odds model (Peterson & Harrell 1990) with these two cuts, which for
    one binary arm has this closed form. Errors: linearised row by row, then CR2 + Satterthwaite by cluster. Raw changes
    of the shares are description only: a pure shift makes either tail look stronger, depending on where it starts.
    Raises InputError when a share is 0 or 1, where log-odds are not defined.
    """
    first, second = check_columns(treatment=treatment, control=control, clusters=clusters)
    if low >= high:
        raise InputError(f"`low` must be below `high`, got {low:g} and {high:g}: on 1–5 scores take 2 and 4")
    arms = [((arm <= low).astype(np.float64), (arm >= high).astype(np.float64)) for arm in (first, second)]
    contrast = partial(
        contrast_of_differences, clusters=clusters, level=check_level(level), n_missing=check_n_missing(n_missing)
    )
    low_change, high_change = (
        within_range(contrast(arms[0][k] - arms[1][k], scale=1.0).estimate, low=-1, high=1) for k in (0, 1)
    )
    name = f"departure from a common shift at ≤ {low:g} and ≥ {high:g}"
    tests = [
        contrast(
            _transformed(arms[1][0], link)
            - _transformed(arms[0][0], link)
            + _transformed(arms[1][1], link)
            - _transformed(arms[0][1], link),
            method=f"{name}, {link}, CR2 + Satterthwaite by cluster",
        )
        for link in LINKS
    ]
    return TailAsymmetry(test=tests[0], sensitivity=tests[1], low_change=low_change, high_change=high_change)


def quantile_contrasts(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    probabilities: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9),
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 2_000,
) -> QuantileContrast:
    """Differences of the arms' quantiles with simultaneous (sup-t) bands, clusters resampled jointly.

    For continuous scores only. Bands: difference ± q · bootstrap se, with q the `level` quantile over resamples of the
    studentised distance's maximum over quantiles (Montiel Olea & Plagborg-Møller 2019). Rows need not be paired, but
    clusters must be shared. Raises InputError under 20 different values, where quantiles jump by whole points and bands
    degenerate: use `proportion_estimate` of a cut.
    """
    first, second = check_columns(treatment=treatment, control=control, clusters=clusters)
    check_level(level)
    check_count("n_resamples", n_resamples, minimum=200)
    wanted = tuple(check_probability(p) for p in probabilities)
    n_distinct = len(np.unique(np.concatenate([first, second])))
    if n_distinct < MIN_DISTINCT:
        raise InputError(
            f"`treatment` and `control` must be continuous scores, got {n_distinct} different values: quantile bands "
            "degenerate there, compare shares at a cut with `proportion_estimate` instead"
        )
    coded = code_labels("clusters", clusters)
    if coded.n_labels < 2:
        raise InputError("`clusters` must be at least 2 for a band, got 1: report the two quantiles as they are")
    observed = np.array(
        [quantile_of_sorted(np.sort(first), p) - quantile_of_sorted(np.sort(second), p) for p in wanted]
    )
    draws = [
        _resampled_quantiles(first, counts, coded.codes, wanted)
        - _resampled_quantiles(second, counts, coded.codes, wanted)
        for counts in cluster_counts(coded.n_labels, n_resamples=n_resamples, rng=rng)
    ]
    moved = np.concatenate(draws) - observed  # [resamples, quantiles]
    template = Estimate(
        value=0.0,
        low=None,
        high=None,
        level=level,
        n=len(first),
        n_clusters=coded.n_labels,
        n_missing=check_n_missing(n_missing),
        method="",
    )
    return _bands(wanted, observed, moved, template)


def _bands(wanted: tuple[float, ...], observed: Floats, moved: Floats, template: Estimate) -> QuantileContrast:
    """Sup-t bands from how far each resample moved the differences [resamples, quantiles]."""
    se = moved.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.where(se > 0, np.abs(moved) / se, 0.0)
    reach = np.quantile(distances.max(axis=1), template.level)
    bands = tuple(
        replace(
            template,
            value=float(observed[k]),
            low=float(observed[k] - reach * se[k]),
            high=float(observed[k] + reach * se[k]),
            se=float(se[k]),
            method=f"difference of {wanted[k]:g} quantiles, cluster bootstrap, simultaneous over {len(wanted)}",
        )
        for k in range(len(wanted))
    )
    return QuantileContrast(probabilities=wanted, simultaneous=bands)


def _resampled_quantiles(values: Floats, counts: Floats, codes: Codes, wanted: tuple[float, ...]) -> Floats:
    """Quantiles [resamples, wanted] of rows weighted by how often their cluster was drawn."""
    order = np.argsort(values, kind="stable")
    ordered, result = values[order], np.empty((len(counts), len(wanted)))
    block = max(1, 1_000_000 // len(values))
    for start in range(0, len(counts), block):
        reached = np.cumsum(counts[start : start + block][:, codes[order]], axis=1)
        for k, probability in enumerate(wanted):
            target = np.ceil(np.round(probability * reached[:, -1:], 9))
            result[start : start + block, k] = ordered[np.argmax(reached >= target, axis=1)]
    return result


def _transformed(hits: Floats, link: Link) -> Floats:
    """Per row, its share of `link(mean of hits)`: the mean over rows is the transformed share (linearised)."""
    share = float(hits.mean())
    if not 0 < share < 1:
        raise InputError(
            f"`treatment` and `control` must each have rows on both sides of both cuts, got a share of {share:g}: move "
            "`low` or `high`, or report `proportion_estimate`"
        )
    if link == "logit":
        return math.log(share / (1 - share)) + (hits - share) / (share * (1 - share))
    z = float(special.ndtri(share))
    return z + (hits - share) / (math.exp(-z * z / 2) / math.sqrt(2 * math.pi))
