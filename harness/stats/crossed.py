"""Means over two crossed factors: training seed × film, rater × prompt. One variance engine, read by planning too.

With cell weights w (rows of the cell / N), row effects a from the additive weighted fit, and its residuals r:

    V1  = Σ W_s² a_s² / (1 − W_s)         rows (seeds, raters): what they add, and cell noise
    V2  = CR2 variance over columns       columns (films, prompts): what they add, and cell noise
    V12 = Σ w_sf² r_sf² / (1 − h_sf)      cell noise alone, h the leverage of a cell in the additive fit
    V   = max(0, V1 − V12) + V2

and df = V² / (V1²/ν1 + V2²/ν2 + V12²/(ν1 ν2)), not below ν1, and ν2 where V1 ≤ V12 (rows add nothing that shows). With
every cell filled ν1 = rows − 1. Unbalanced cells: V1's own noise κ V12 is taken out before V12 is put back. Two guards
were found by simulation (docs/calibration.md). Where rows outweigh columns, the interval is at least that of the row
means alone, widened by up to 0.8 / rows for skewed rows, which so few of them cannot show. And √V2 is widened by the
skewness of column sums (`skew`). For balanced cells V is that of REML's components, bounded at 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.intervals import equivalence_ends, skewness, t_interval, t_quantile, widening
from harness.stats.outcomes import TestResult, t_test
from harness.stats.paired import contrast_of_differences, cr2_variance
from harness.stats.proportions import share_estimate
from harness.stats.rows import (
    ClusterSums,
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

SKEW_OF_ROWS = 0.8
FEWEST_DF = 1.5  # two rows cannot tell whether rows add anything: their one degree of freedom is all there is
UNCONNECTED = "some share nothing with the others: the interval errs on the wide side"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedParts:
    """The three variances of a mean over crossed factors, each with cell noise in it, and their degrees of freedom."""

    rows: float  # V1
    columns: float  # V2
    cells: float  # V12
    rows_df: float
    columns_df: float
    columns_skewness: float
    is_connected: bool = True  # False: no cell noise could be told apart, and both variances count whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard error and degrees of freedom of an interval."""

    se: float
    df: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterClaims:
    """What marks say about these raters, and about raters like them."""

    panel: TestResult  # raters fixed: other prompts, the same people
    people: TestResult  # raters sampled too: other prompts, other people


def rater_contrast(
    differences: ArrayLike, *, raters: Labels, prompts: Labels, level: float = 0.95, n_missing: int = 0
) -> RaterClaims:
    """Mean of `differences` [n], one per rater and prompt, as two claims that are kept apart.

    `panel` is about these raters and is clustered by prompt alone (CR2); `people` is about raters like these, crossed.
    """
    array = check_values("differences", differences)
    check_same_length(differences=array, raters=raters, prompts=prompts)
    n_raters = code_labels("raters", raters).n_labels
    panel = contrast_of_differences(array, clusters=prompts, level=level, n_missing=n_missing)
    noted = panel_claim(panel.estimate, n_raters)
    people = crossed_mean(
        array,
        first=raters,
        second=prompts,
        names=("rater", "cluster"),
        level=level,
        n_missing=n_missing,
        note=f"about raters like these {n_raters}",
    )
    return RaterClaims(panel=replace(panel, estimate=noted), people=people)


def panel_claim(estimate: Estimate, n_raters: int) -> Estimate:
    """An estimate whose raters are fixed, said so: its uncertainty is that of prompts, not of people."""
    notes = (f"about these {n_raters} raters" if n_raters != 1 else "about this rater", *estimate.notes)
    return replace(estimate, n_crossed=n_raters, crossed="rater", notes=notes)


def seed_contrast(
    differences: ArrayLike, *, seeds: Labels, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> TestResult:
    """Mean of `differences` [n], one per training seed and prompt, with errors shared within seeds and within films."""
    n_seeds = code_labels("seeds", seeds).n_labels
    return crossed_mean(
        differences,
        first=seeds,
        second=clusters,
        names=("seed", "film"),
        level=level,
        n_missing=n_missing,
        note="two seeds hardly tell how far seeds scatter" if n_seeds == 2 else "",
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
    """Mean of `values` [n] against 0; `first` are the few (seeds, raters), `second` the many (films, prompts).

    One seed, rater or film leaves no interval, with a note; no variance at all a degenerate one.
    """
    array = check_values("values", values)
    check_same_length(values=array, first=first, second=second)
    check_level(level)
    rows, columns = code_labels(names[0], first), code_labels(names[1], second)
    mean = float(array.mean())
    bare = Estimate(
        value=mean,
        low=None,
        high=None,
        level=level,
        n=len(array),
        n_clusters=columns.n_labels,
        n_missing=check_n_missing(n_missing),
        method=f"mean over crossed {names[0]}s and {names[1]}s, variance components, Satterthwaite",
        notes=join_notes([note]),
        n_crossed=rows.n_labels,
        crossed=names[0],
    )
    if min(rows.n_labels, columns.n_labels) < 2:
        lone = f"one {names[0] if rows.n_labels == 1 else names[1]}: no interval can be given"
        return t_test(replace(bare, notes=join_notes([lone, note])))
    parts = crossed_parts(array - mean, rows, columns)
    spread = spread_of(parts, level=level)
    if spread.se <= 1e-12 * float(np.abs(array).max()):
        notes = (*bare.notes, "no variance between levels")
        flat = t_test(replace(bare, low=mean, high=mean, se=0.0, df=spread.df, notes=notes))
        return replace(flat, p_value=1.0 if mean == 0 else None)
    ends = t_interval(mean, spread.se, spread.df, level=level)
    notes = join_notes([*bare.notes, "" if parts.is_connected else UNCONNECTED])
    gamma = parts.columns_skewness * min(1.0, parts.columns / spread.se**2) ** 1.5  # of the mean, by what films add
    ends_of_tests = equivalence_ends(mean, spread.se, spread.df, gamma=gamma, n_clusters=columns.n_labels, level=level)
    estimate = replace(
        bare, low=ends.low, high=ends.high, se=spread.se, df=spread.df, notes=notes, equivalence=ends_of_tests
    )
    return replace(t_test(estimate), note="; ".join(notes))


def crossed_share(
    hits: ArrayLike,
    *,
    first: Labels,
    second: Labels,
    names: tuple[str, str],
    level: float = 0.95,
    n_missing: int = 0,
    note: str = "",
) -> Estimate:
    """`crossed_mean` of rows in [0, 1], a t interval on the logit scale; with one of either no interval."""
    bare = crossed_mean(
        hits, first=first, second=second, names=names, level=level, n_missing=n_missing, note=note
    ).estimate
    if bare.se is None or bare.df is None:
        return bare
    share = share_estimate(
        bare.value,
        bare.se,
        df=bare.df,
        n=bare.n,
        n_clusters=bare.n_clusters,
        n_effective=min(bare.n_crossed, bare.n_clusters),
        level=level,
        n_missing=n_missing,
        method=f"share over crossed {names[0]}s and {names[1]}s, variance components, logit t",
    )
    return replace(share, notes=join_notes([note, *share.notes]), n_crossed=bare.n_crossed, crossed=bare.crossed)


def crossed_parts(residuals: Floats, rows: Coded, columns: Coded) -> CrossedParts:
    """The variances of the mean of `residuals` [n], which sum to 0; both factors need two levels."""
    shape = rows.n_labels, columns.n_labels
    cell, n = rows.codes * shape[1] + columns.codes, len(residuals)
    size = shape[0] * shape[1]
    sums = np.bincount(cell, weights=residuals, minlength=size).astype(np.float64).reshape(shape)
    counts = np.bincount(cell, minlength=size).astype(np.float64).reshape(shape)
    return parts_of_cells(sums, counts, n=n)


def parts_of_cells(sums: Floats, counts: Floats, *, n: int) -> CrossedParts:
    """`crossed_parts` from sums and counts [rows, columns] of the cells, e.g. of influences on an estimate."""
    w, total = counts / n, sums / n  # total: w · cell mean
    by_row, by_column = w.sum(axis=1), w.sum(axis=0)
    of_columns = ClusterSums(sums=total.sum(axis=0) * n, sizes=by_column * n, mean=0.0)
    second = cr2_variance(of_columns)
    gamma = skewness(of_columns.sums)
    parts = partial(
        CrossedParts,
        columns=second.variance * widening(gamma) ** 2,
        rows_df=cr2_variance(ClusterSums(sums=by_row, sizes=by_row * n, mean=0.0)).df,
        columns_df=second.df,
        columns_skewness=gamma,
    )
    share = w / by_column  # [rows, columns] of a column's rows
    values, vectors = np.linalg.eigh(np.diag(by_row) - share @ w.T)
    known = values > 1e-9 * by_row.max()
    if np.count_nonzero(known) < len(w) - 1:
        plain = float(np.sum(total.sum(axis=1) ** 2 / (1 - by_row)))
        return parts(rows=plain, cells=0.0, is_connected=False)
    inverse = (vectors[:, known] / values[known]) @ vectors[:, known].T
    effect = inverse @ (total.sum(axis=1) - share @ total.sum(axis=0))
    cells = _cell_noise(w, total, share, by_column, effect, inverse)
    centred = np.eye(len(w)) - by_row
    weight = by_row**2 / (1 - by_row)
    noise = float(weight @ np.diag(centred @ inverse @ centred.T))  # κ: 1 with every cell alike
    scale = float(weight @ (1 - 2 * by_row + by_row @ by_row)) / float(by_row @ by_row)
    own = (float(weight @ (centred @ effect) ** 2) - noise * cells) / scale
    return parts(rows=max(0.0, own + cells), cells=cells)


def spread_of(parts: CrossedParts, *, level: float) -> Spread:
    """Standard error and degrees of freedom of the interval at `level`; the larger of the two that stand to choice."""
    rows, columns, cells = parts.rows, parts.columns, parts.cells
    if not parts.is_connected:
        return Spread(se=math.sqrt(rows + columns), df=min(parts.rows_df, parts.columns_df))
    total = max(0.0, rows - cells) + columns
    if parts.rows_df < FEWEST_DF:
        return Spread(se=math.sqrt(total), df=parts.rows_df)
    if rows <= cells or total <= 0:
        return Spread(se=math.sqrt(total), df=parts.columns_df)
    shaken = rows**2 / parts.rows_df + columns**2 / parts.columns_df + cells**2 / (parts.rows_df * parts.columns_df)
    both = Spread(se=math.sqrt(total), df=max(total**2 / shaken, parts.rows_df))
    if rows <= columns:
        return both
    widening = 1 + SKEW_OF_ROWS / (parts.rows_df + 1) * (1 - columns / rows)
    alone = Spread(se=math.sqrt(rows) * widening, df=parts.rows_df)
    return max(both, alone, key=lambda one: one.se * t_quantile((1 + level) / 2, one.df))


def _cell_noise(w: Floats, total: Floats, share: Floats, by_column: Floats, effect: Floats, inverse: Floats) -> float:
    """V12: squared residuals of the additive fit, each divided by what the fit leaves of it (1 − leverage)."""
    column = total.sum(axis=0) / by_column - effect @ share
    residual = total - w * (effect[:, None] + column)
    turned = inverse @ share
    reach = np.diag(inverse)[:, None] - 2 * turned + np.sum(share * turned, axis=0)
    left = 1 - w * (1 / by_column + reach)
    return float(np.sum(residual**2 / np.where(left > 1e-9, left, np.inf)))
