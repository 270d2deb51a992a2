"""Judge scores on many items, human marks on few: corrected means (prediction-powered inference, PPI++).

    θ = Σ_all λ f_i / N + Σ_marked w_i (y_i − λ f_i),   w_i ∝ 1 / π_i, Σ w_i = 1

with judge scores f, human marks y and inclusion probabilities π (Angelopoulos et al. 2301.09633; λ from Angelopoulos,
Duchi & Zrnic 2311.01453). A good judge narrows the interval, a bad one costs nothing (λ → 0), and the result stays a
statement about *human* marks either way, if and only if the marked items were drawn at random with known π. λ is
cross-fitted by cluster: the λ of a film is estimated on the others. Where we deviate: the marked items are part of
the N (two-phase sampling), errors are summed by cluster, and λ minimises that clustered variance, kept in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.outcomes import TestResult, t_estimate, t_test
from harness.stats.rows import (
    Coded,
    Codes,
    Floats,
    Labels,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
)
from harness.types import Estimate

FOLDS = 5
PLAUSIBLE = 5.0  # standard deviations that the number of marks may lie from what π says


@dataclass(frozen=True, slots=True, kw_only=True)
class PoweredMean:
    """A human mean sharpened by judge scores."""

    test: TestResult  # of 0; for a contrast that is the question, for a mean read the estimate only
    human_only: Estimate  # the same from human marks alone
    judge_only: Estimate  # the judge's mean over all items: biased by however the judge is biased
    effective_n: float  # human marks that would give the same standard error without a judge
    lambdas: tuple[float, ...]  # per fold; near 0: the judge does not help, near 1: it is taken at its word


def powered_mean(
    judge: ArrayLike,
    human: ArrayLike,
    *,
    probabilities: ArrayLike | None,
    clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
) -> PoweredMean:
    """Mean human mark over all items, from judge scores on all and human marks on a random part.

    Args:
        judge: [N] judge scores, no gaps.
        human: [N] human marks, NaN where the item was not drawn.
        probabilities: [N] the probability with which each item was drawn for marking, as recorded when it was drawn
            (one number for a simple random draw). None is refused: without it nothing corrects the judge.
        clusters: [N] films.
        n_missing: items drawn whose mark is missing; reported, and a bias if not at random.
    """
    scores = check_values("judge", judge, minimum=2)
    marks = np.asarray(human, dtype=np.float64)
    check_same_length(judge=scores, human=marks, clusters=clusters)
    check_level(level)
    drawn = ~np.isnan(marks)
    if np.isinf(marks).any() or drawn.sum() < 2:
        raise InputError(f"`human` must hold at least 2 finite marks, got {int(drawn.sum())}: mark more items")
    pi = _checked_probabilities(probabilities, drawn, n_missing=check_n_missing(n_missing))
    coded = code_labels("clusters", clusters)
    weights: Floats = np.where(drawn, 1 / pi, 0.0)
    weights /= weights.sum()
    y = np.where(drawn, marks, 0.0)
    fold = np.arange(coded.n_labels) % FOLDS
    lambdas = _cross_fitted(scores, y, weights, coded, fold)
    method = "PPI++, λ cross-fitted by cluster, errors by cluster"
    powered = _estimated(scores, y, weights, lambdas[fold[coded.codes]], coded, drawn, level, method)
    alone = _estimated(scores, y, weights, np.zeros(len(y)), coded, drawn, level, "weighted mean of human marks")
    everywhere = np.full(len(y), 1 / len(y))
    judged = _estimated(scores, scores, everywhere, np.zeros(len(y)), coded, drawn, level, "mean of judge scores")
    gain = (alone.se / powered.se) ** 2 if alone.se and powered.se else 1.0
    return PoweredMean(
        test=t_test(replace(powered, n_missing=n_missing), note="no variance to test against"),
        human_only=replace(alone, n_missing=n_missing, n=int(drawn.sum())),
        judge_only=replace(judged, notes=(*judged.notes, "carries the judge's bias")),
        effective_n=float(drawn.sum()) * gain,
        lambdas=tuple(float(value) for value in lambdas),
    )


def _checked_probabilities(probabilities: ArrayLike | None, drawn: np.ndarray, *, n_missing: int) -> Floats:
    if probabilities is None:
        raise InputError(
            "`probabilities` must be the recorded inclusion probabilities of a random draw, got None: marks on items "
            "picked by hand cannot correct a judge; draw items at random and record with what probability"
        )
    given = np.asarray(probabilities, dtype=np.float64)
    pi = np.full(len(drawn), float(given)) if given.ndim == 0 else given
    check_same_length(probabilities=pi, human=drawn)
    if not np.all((pi >= 0) & (pi <= 1)) or (pi[drawn] <= 0).any():
        raise InputError("`probabilities` must lie in (0, 1] for every marked item: take them from the draw's record")
    if (pi <= 0).any():
        raise InputError(
            "`probabilities` must be above 0 for every item, got 0: drop the items that could not be drawn"
        )
    expected, spread = float(pi.sum()), math.sqrt(float(np.sum(pi * (1 - pi))))
    found = int(drawn.sum()) + n_missing
    if abs(found - expected) > PLAUSIBLE * spread + 1:
        raise InputError(
            f"`probabilities` say that about {expected:.0f} items were drawn, got {found} marks: these are not the "
            "probabilities that the items were drawn with"
        )
    return pi


def _parts(scores: Floats, y: Floats, weights: Floats, coded: Coded) -> tuple[Floats, Floats]:
    """Per cluster, what the marks and the judge contribute to θ = Σ a − Σ λ b around its value."""
    drawn = weights > 0
    mean_y, mean_f = float(weights @ y), float(weights @ scores)
    a = np.where(drawn, weights * (y - mean_y), 0.0)
    b = np.where(drawn, weights * (scores - mean_f), 0.0) - (scores - scores.mean()) / len(scores)
    sums = [np.asarray(np.bincount(coded.codes, weights=x, minlength=coded.n_labels), dtype=float) for x in (a, b)]
    return sums[0], sums[1]


def _cross_fitted(scores: Floats, y: Floats, weights: Floats, coded: Coded, fold: Codes) -> Floats:
    """λ of each fold from the clusters of the other folds: least clustered variance, in [0, 1]."""
    a, b = _parts(scores, y, weights, coded)
    found = np.zeros(FOLDS)
    for k in range(FOLDS):
        others = fold != k
        spread = float(b[others] @ b[others])
        found[k] = float(np.clip(a[others] @ b[others] / spread, 0.0, 1.0)) if spread > 0 else 0.0
    return found


def _estimated(
    scores: Floats, y: Floats, weights: Floats, lam: Floats, coded: Coded, drawn: np.ndarray, level: float, method: str
) -> Estimate:
    n = len(scores)
    predicted = lam * (scores - scores.mean())  # centred: folds differ in λ, the judge's zero must not matter
    residual = y - predicted
    value = float(predicted.mean()) + float(weights @ residual)
    influence = (predicted - predicted.mean()) / n + weights * (residual - float(weights @ residual))
    sums = np.bincount(coded.codes, weights=influence, minlength=coded.n_labels)
    n_marked = len(np.unique(coded.codes[drawn])) if (weights == 0).any() else coded.n_labels
    se = math.sqrt(float(sums @ sums) * n_marked / (n_marked - 1)) if n_marked > 1 else None
    return t_estimate(value, se, float(n_marked - 1), n=n, n_clusters=n_marked, level=level, method=method)
