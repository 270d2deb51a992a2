"""Means over two crossed factors: rater × prompt, or training seed × film.

Neither factor is nested in the other, so errors are shared along both. Variance by inclusion and exclusion (Cameron,
Gelbach & Miller 2011, doi:10.1198/jbes.2010.07136), each part with its G / (G − 1):

    V = V_rows + V_columns − V_cells

and where the subtraction leaves less than the larger of the two one-way variances, the larger one (a variance cannot
fall when a source of error is added). Degrees of freedom: min(levels) − 1, so three raters or three seeds leave 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.intervals import t_interval, t_p_value
from harness.stats.results import TestResult
from harness.stats.rows import (
    Coded,
    Floats,
    Labels,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
    join_notes,
)
from harness.types import Estimate

MIN_RATERS = 10  # fewer: the claim is about this panel


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedVariance:
    """Two-way variance of a mean with its parts."""

    variance: float
    first: float  # one-way, over the first factor
    second: float
    df: int

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)


def rater_contrast(
    differences: ArrayLike,
    *,
    raters: Labels,
    prompts: Labels,
    level: float = 0.95,
    n_missing: int = 0,
) -> TestResult:
    """Mean of `differences` [n], one per rater and prompt, with errors shared within raters and within prompts.

    Under ten raters the estimate is labelled panel-conditional: it speaks of these raters.
    """
    n_raters = code_labels("raters", raters).n_labels
    note = f"panel-conditional: about these {n_raters} raters" if n_raters < MIN_RATERS else ""
    return crossed_mean(
        differences,
        first=raters,
        second=prompts,
        names=("rater", "prompt"),
        level=level,
        n_missing=n_missing,
        note=note,
    )


def seed_contrast(
    differences: ArrayLike,
    *,
    seeds: Labels,
    clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
) -> TestResult:
    """Mean of `differences` [n], one per training seed and prompt, with errors shared within seeds and within films.

    With few seeds the degrees of freedom are seeds − 1 and the note says so: three seeds leave 2, and an interval more
    than twice as wide as many seeds would give.
    """
    n_seeds = code_labels("seeds", seeds).n_labels
    n_clusters = code_labels("clusters", clusters).n_labels
    note = f"{n_seeds} seeds: {n_seeds - 1} degrees of freedom" if n_seeds <= n_clusters else ""
    return crossed_mean(
        differences,
        first=seeds,
        second=clusters,
        names=("seed", "film"),
        level=level,
        n_missing=n_missing,
        note=note,
    )


def crossed_mean(
    values: ArrayLike,
    *,
    first: Labels,
    second: Labels,
    names: tuple[str, str],
    level: float = 0.95,
    n_missing: int = 0,
    note: str = "",
) -> TestResult:
    """Mean of `values` [n] against 0 with two-way clustered variance; `n_clusters` is the smaller number of levels."""
    array = check_values("values", values)
    check_same_length(values=array, first=first, second=second)
    check_level(level)
    rows, columns = code_labels(names[0], first), code_labels(names[1], second)
    smaller = min(rows.n_labels, columns.n_labels)
    spread = crossed_variance(array - array.mean(), rows, columns) if smaller > 1 else None
    lone = "" if spread else f"one {names[0] if rows.n_labels == 1 else names[1]}: no interval can be given"
    return _result(
        array,
        spread,
        n_clusters=smaller,
        level=level,
        n_missing=check_n_missing(n_missing),
        method=f"mean, two-way clustered by {names[0]} and {names[1]}, df {smaller - 1}",
        notes=join_notes([lone, note]),
    )


def crossed_variance(residuals: Floats, rows: Coded, columns: Coded) -> CrossedVariance:
    """Two-way variance of the mean of `residuals` [n], which sum to 0; both factors need two levels."""
    cells = rows.codes * columns.n_labels + columns.codes
    parts = [
        _one_way(residuals, codes) for codes in (rows.codes, columns.codes, np.unique(cells, return_inverse=True)[1])
    ]
    return CrossedVariance(
        variance=max(parts[0] + parts[1] - parts[2], parts[0], parts[1]),
        first=parts[0],
        second=parts[1],
        df=min(rows.n_labels, columns.n_labels) - 1,
    )


def _one_way(residuals: Floats, codes: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
    sums = np.bincount(codes, weights=residuals)
    n_levels = len(sums)
    return float(sums @ sums) / len(residuals) ** 2 * n_levels / (n_levels - 1)


def _result(
    array: Floats,
    spread: CrossedVariance | None,
    *,
    n_clusters: int,
    level: float,
    n_missing: int,
    method: str,
    notes: tuple[str, ...],
) -> TestResult:
    mean = float(array.mean())
    is_flat = spread is not None and spread.se <= 1e-12 * float(np.abs(array).max())
    se = None if spread is None else 0.0 if is_flat else spread.se
    df = None if spread is None else float(spread.df)
    ends = None if se is None or df is None else t_interval(mean, se, df, level=level)
    estimate = Estimate(
        value=mean,
        low=None if ends is None else ends.low,
        high=None if ends is None else ends.high,
        level=level,
        n=len(array),
        n_clusters=n_clusters,
        n_missing=n_missing,
        method=method,
        df=df,
        se=se,
        notes=notes + (("no variance between levels",) if is_flat else ()),
    )
    if se is None or se == 0 or df is None:
        p_value = 1.0 if se == 0 and mean == 0 else None
        return TestResult(estimate=estimate, p_value=p_value, statistic=None, note="; ".join(estimate.notes))
    return TestResult(
        estimate=estimate, p_value=t_p_value(mean / se, df), statistic=mean / se, note="; ".join(estimate.notes)
    )
