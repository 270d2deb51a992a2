"""Agreement between raters beyond chance: Cohen, Fleiss, Krippendorff, with cluster bootstrap intervals.

Each coefficient is a function of sums over items (a confusion matrix, category counts, a coincidence matrix), so a
resample of clusters costs one matrix product. The bootstrap standard error is carried to Fisher's z scale, t interval
with clusters − 1 degrees of freedom. Perfect agreement, or one cluster, has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InputError
from harness.stats.outcomes import bootstrap_se, fisher_estimate
from harness.stats.rows import (
    Coded,
    Floats,
    Labels,
    check_count,
    check_level,
    check_n_missing,
    check_same_length,
    cluster_counts,
    code_labels,
)
from harness.types import Estimate

Scale = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]


def cohens_kappa(
    first: Sequence[Hashable] | NDArray[Any],
    second: Sequence[Hashable] | NDArray[Any],
    *,
    clusters: Labels,
    rng: np.random.Generator,
    weights: Weights = "none",
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 2_000,
) -> Estimate:
    """Cohen's kappa (1960) of two raters on the same items; weighted (1968) by distance for ordered marks.

    With `linear` or `quadratic` weights the marks must be numbers: they are ordered by value, and distances count steps
    between the marks that occur.
    """
    check_same_length(first=first, second=second, clusters=clusters)
    marks = code_labels("first and second", [*first, *second])
    labels = list(marks.labels)
    if weights != "none":
        labels = sorted(labels, key=_as_number)
    rank = {label: i for i, label in enumerate(labels)}
    codes = np.array([rank[label] for label in marks.labels])[marks.codes]
    n, k = len(first), len(labels)
    coded = code_labels("clusters", clusters)
    cell = codes[:n] * k + codes[n:]
    tables = np.bincount(coded.codes * k * k + cell, minlength=coded.n_labels * k * k).reshape(coded.n_labels, k * k)
    distance = _distances(k, weights)

    def kappa(sums: Floats) -> Floats:
        table = sums.reshape(-1, k, k)
        total = table.sum(axis=(1, 2))
        expected = np.einsum("bi,bj,ij->b", table.sum(axis=2), table.sum(axis=1), distance) / total
        return _one_minus(np.einsum("bij,ij->b", table, distance), expected)

    name = "Cohen's kappa" + ("" if weights == "none" else f", {weights} weights")
    return _estimate(tables.astype(float), kappa, coded, n, name, rng, level, n_missing, n_resamples)


def fleiss_kappa(
    marks: ArrayLike,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 2_000,
) -> Estimate:
    """Fleiss' kappa (1971) of `marks` [items, raters], every item marked equally often, any raters; nominal."""
    table = _mark_table(marks)
    if np.isnan(table).any():
        raise InputError("`marks` must be complete for Fleiss' kappa, got gaps: use `krippendorff_alpha`")
    counts = _category_counts(table)  # [items, categories]
    per_item = table.shape[1]
    agreeing = (np.sum(counts * (counts - 1), axis=1) / (per_item * (per_item - 1)))[:, None]
    features = np.column_stack([counts, agreeing, np.ones(len(counts))])

    def kappa(sums: Floats) -> Floats:
        shares = sums[:, :-2] / sums[:, :-2].sum(axis=1, keepdims=True)
        return _one_minus(1 - sums[:, -2] / sums[:, -1], 1 - np.sum(shares**2, axis=1))

    coded = code_labels("clusters", clusters)
    check_same_length(marks=table, clusters=clusters)
    return _estimate(
        _by_cluster(features, coded), kappa, coded, len(table), "Fleiss' kappa", rng, level, n_missing, n_resamples
    )


def krippendorff_alpha(
    marks: ArrayLike,
    *,
    scale: Scale,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_missing: int = 0,
    n_resamples: int = 2_000,
) -> Estimate:
    """Krippendorff's alpha (2011, "Computing Krippendorff's Alpha-Reliability") of `marks` [items, raters].

    NaN: not marked by that rater; items with fewer than two marks cannot agree and are left out. `ordinal` takes the
    distance of two marks from how many marks lie between them, `interval` from their squared difference.
    """
    if scale not in ("nominal", "ordinal", "interval"):
        raise InputError(f"`scale` must be nominal, ordinal or interval, got {scale!r}: 1–5 marks are ordinal")
    table = _mark_table(marks)
    check_same_length(marks=table, clusters=clusters)
    paired = np.count_nonzero(~np.isnan(table), axis=1) >= 2
    if not paired.any():
        raise InputError("`marks` must hold items with two marks, got none: let raters mark the same items")
    coded = code_labels("clusters", [label for label, keep in zip(clusters, paired, strict=True) if keep])
    kept = table[paired]
    features, alpha = _interval_alpha(kept) if scale == "interval" else _coincidence_alpha(kept, scale)
    name = f"Krippendorff's alpha, {scale}"
    return _estimate(_by_cluster(features, coded), alpha, coded, len(kept), name, rng, level, n_missing, n_resamples)


Statistic = Callable[[Floats], Floats]


def _interval_alpha(table: Floats) -> tuple[Floats, Statistic]:
    """Per item: observed disagreement, marks, their sum and sum of squares."""
    present = ~np.isnan(table)
    values = np.where(present, table - np.nanmean(table), 0.0)
    m, s, q = present.sum(axis=1), values.sum(axis=1), np.sum(values**2, axis=1)
    features = np.column_stack([2 * (m * q - s**2) / (m - 1), m, s, q])

    def alpha(sums: Floats) -> Floats:
        observed, n, total, squares = sums.T
        return _one_minus(observed, 2 * (n * squares - total**2) / (n - 1))

    return features, alpha


def _coincidence_alpha(table: Floats, scale: Scale) -> tuple[Floats, Statistic]:
    """Per item: its part of the coincidence matrix [categories, categories], flattened."""
    counts = _category_counts(table)
    k = counts.shape[1]
    pairs = counts[:, :, None] * counts[:, None, :] - np.einsum("ic,cd->icd", counts, np.eye(k))
    features = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).reshape(len(counts), k * k)

    def alpha(sums: Floats) -> Floats:
        coincidence = sums.reshape(-1, k, k)
        marginal = coincidence.sum(axis=2)
        if scale == "nominal":
            distance = np.broadcast_to(1 - np.eye(k), coincidence.shape)
        else:
            middle = np.cumsum(marginal, axis=1) - marginal / 2
            distance = (middle[:, :, None] - middle[:, None, :]) ** 2
        expected = np.einsum("bi,bj,bij->b", marginal, marginal, distance) / (marginal.sum(axis=1) - 1)
        return _one_minus(np.einsum("bij,bij->b", coincidence, distance), expected)

    return features, alpha


def _one_minus(observed: Floats, expected: Floats) -> Floats:
    """1 − observed / expected disagreement; NaN where only one category occurs."""
    is_flat = expected <= 1e-12
    return np.where(is_flat, np.nan, 1 - observed / np.where(is_flat, 1.0, expected))


def _estimate(
    sums: Floats,
    statistic: Statistic,
    coded: Coded,
    n: int,
    name: str,
    rng: np.random.Generator,
    level: float,
    n_missing: int,
    n_resamples: int,
) -> Estimate:
    check_level(level)
    check_count("n_resamples", n_resamples, minimum=100)
    value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        raise InputError("`marks` must use at least two categories, got one: agreement beyond chance is not defined")
    se = None
    if coded.n_labels > 1:
        blocks = cluster_counts(coded.n_labels, n_resamples=n_resamples, rng=rng)
        se = bootstrap_se([statistic(counts @ sums) for counts in blocks])
    return fisher_estimate(
        value,
        se,
        n=n,
        n_clusters=coded.n_labels,
        n_missing=check_n_missing(n_missing),
        level=level,
        method=f"{name}, cluster bootstrap, Fisher z",
        perfect="perfect agreement: no interval",
        flat="most resamples hold one category: no interval",
    )


def _mark_table(marks: ArrayLike) -> Floats:
    table = np.asarray(marks, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not len(table):
        raise InputError(f"`marks` must be [items, raters] with at least 2 raters, got shape {table.shape}: reshape it")
    if np.isinf(table).any():
        raise InputError("`marks` must be finite or NaN for not marked, got infinity: clean the column")
    return table


def _category_counts(table: Floats) -> Floats:
    """[items, categories], categories in order of value; NaN is no category."""
    categories = np.unique(table[~np.isnan(table)])
    return np.stack([np.count_nonzero(table == category, axis=1) for category in categories], axis=1).astype(float)


def _by_cluster(features: Floats, coded: Coded) -> Floats:
    sums = np.zeros((coded.n_labels, features.shape[1]))
    np.add.at(sums, coded.codes, features)
    return sums


def _distances(k: int, weights: Weights) -> Floats:
    steps = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float)
    if weights == "none":
        return np.asarray(steps > 0, dtype=float)
    if weights in ("linear", "quadratic"):
        return steps if weights == "linear" else steps**2
    raise InputError(f"`weights` must be none, linear or quadratic, got {weights!r}: quadratic is usual for 1–5 marks")


def _as_number(label: Hashable) -> float:
    try:
        return float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError) as err:
        raise InputError(f"`first` and `second` must hold numbers for weighted kappa, got {label!r}: use none") from err
