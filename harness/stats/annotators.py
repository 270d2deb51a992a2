"""Judge against people: the alternative-annotator test, raters' repeatability, Bland–Altman bias."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from harness.errors import InputError
from harness.stats.intervals import t_quantile
from harness.stats.paired import contrast_of_differences
from harness.stats.proportions import proportion_estimate, share_estimate, within_range
from harness.stats.rows import (
    Codes,
    Floats,
    Labels,
    check_columns,
    check_count,
    check_level,
    check_n_missing,
    check_same_length,
    check_values,
    code_labels,
)
from harness.stats.verdicts import adjust
from harness.types import Estimate

Alignment = Literal["exact", "distance"]
PASSING_SHARE = 0.5  # of annotators that the judge must not lose to
MIN_ITEMS = 30  # that an annotator shares with others, as in the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorTest:
    """Is the judge as good a stand-in as this annotator, by the other annotators' marks?"""

    annotator: Hashable
    advantage: Estimate  # share of items where the judge is at least as close − the same share for the annotator
    judge_share: float  # of those items where the judge is at least as close
    p_value: float | None  # one-sided, H0: advantage ≤ −ε
    p_adjusted: float | None  # Benjamini–Yekutieli over annotators
    is_beaten: bool  # the judge may replace this annotator


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativeAnnotator:
    """The alternative-annotator test with each annotator's own test."""

    winning_share: float  # ω: annotators that the judge may replace; with three it takes four values
    advantage_probability: Estimate  # ρ: share of items where the judge is at least as close, mean over annotators
    is_passed: bool  # ω ≥ 0.5
    epsilon: float
    tests: tuple[AnnotatorTest, ...]
    left_out: tuple[Hashable, ...]  # annotators that share fewer than `min_items` items with another


@dataclass(frozen=True, slots=True, kw_only=True)
class BlandAltman:
    """Bias and limits of agreement of two measurements of the same items."""

    bias: Estimate  # mean of first − second
    lower: Estimate  # bias − 1.96 sd: 95 % of differences lie above
    upper: Estimate


def alternative_annotator(
    judge: ArrayLike,
    marks: Mapping[Any, ArrayLike],  # by annotator; `Hashable` keys would refuse a mapping from text
    *,
    clusters: Labels,
    epsilon: float,
    alignment: Alignment = "distance",
    level: float = 0.95,
    min_items: int = MIN_ITEMS,
) -> AlternativeAnnotator:
    """May the judge stand in for a human annotator? (Calderon, Reichart & Dror 2025, arXiv 2501.10970)

    For each annotator j the marks of others are the yardstick, on the items that j shares with at least one of them. On
    each the judge and j are compared: closer (or as close) scores 1. `advantage` is the judge's share minus j's; H0:
    advantage ≤ −ε, t test with errors by cluster (the paper's items are independent; CR2 + Satterthwaite here),
    Benjamini–Yekutieli over annotators. ε is what a human costs over a judge, declared before (0.2 for experts, 0.15
    skilled, 0.1 crowd in the paper).

    Args:
        judge: [n] marks of the judge.
        marks: annotator → [n] marks of the same items, NaN where not marked; at least three annotators.
        clusters: [n] films.
        epsilon: in [0, 1), declared beforehand.
        alignment: "distance" (negative root mean square to the others) or "exact" (share of others with the same mark).
        min_items: annotators who share fewer items with another are left out, and named.
    """
    scores = check_values("judge", judge)
    if len(marks) < 3:
        raise InputError(f"`marks` must hold at least 3 annotators, got {len(marks)}: collect another's marks")
    if not 0 <= epsilon < 1:
        raise InputError(f"`epsilon` must lie in [0, 1), got {epsilon}: declare 0.1 to 0.2 before looking")
    if alignment not in ("distance", "exact"):
        raise InputError(f"`alignment` must be distance or exact, got {alignment!r}: distance suits 1–5 marks")
    check_level(level)
    table = _mark_table(marks, scores, clusters)
    found, left_out, shares = [], [], []
    codes = code_labels("clusters", clusters).codes
    for place, name in enumerate(marks):
        others = np.delete(table, place, axis=0)  # [others, n]
        shared = np.flatnonzero(~np.isnan(table[place]) & ~np.isnan(others).all(axis=0))
        if len(shared) < check_count("min_items", min_items):
            left_out.append(name)
            continue
        fits = [_alignment(one[shared], others[:, shared], alignment) for one in (scores, table[place])]
        gap = fits[0] - fits[1]
        is_close = (gap >= -1e-12).astype(np.float64)
        found.append((name, _advantage(is_close, gap <= 1e-12, codes[shared], level)))
        shares.append((is_close, codes[shared]))
    if not found:
        raise InputError(
            f"`marks` must hold an annotator with {min_items} items that another marked too, got none: let people mark "
            "the same items"
        )
    p_values = [_p_value(advantage, epsilon) for _, advantage in found]
    adjusted = iter(adjust([p for p in p_values if p is not None], method="by"))
    p_adjusted = [None if p is None else next(adjusted) for p in p_values]
    tests = tuple(
        AnnotatorTest(
            annotator=name,
            advantage=advantage,
            judge_share=float(is_close.mean()),
            p_value=raw,
            p_adjusted=p,
            is_beaten=p is not None and p < 1 - level,
        )
        for (name, advantage), (is_close, _), raw, p in zip(found, shares, p_values, p_adjusted, strict=True)
    )
    share = sum(test.is_beaten for test in tests) / len(tests)
    return AlternativeAnnotator(
        winning_share=share,
        advantage_probability=_mean_share(shares, level),
        is_passed=share >= PASSING_SHARE,
        epsilon=epsilon,
        tests=tests,
        left_out=tuple(left_out),
    )


def repeatability(
    first: Sequence[Hashable] | NDArray[Any],
    second: Sequence[Hashable] | NDArray[Any],
    *,
    clusters: Labels,
    level: float = 0.95,
    n_missing: int = 0,
) -> Estimate:
    """Share of items that one rater (or judge) marked the same twice."""
    check_same_length(first=first, second=second, clusters=clusters)
    marks = code_labels("first and second", [*first, *second]).codes
    same = (marks[: len(first)] == marks[len(first) :]).astype(np.float64)
    return proportion_estimate(
        same,
        clusters=clusters,
        level=level,
        n_missing=n_missing,
        method="share marked the same twice, CR2 + Satterthwaite by cluster, logit t",
    )


def bland_altman(
    first: ArrayLike, second: ArrayLike, *, clusters: Labels, level: float = 0.95, n_missing: int = 0
) -> BlandAltman:
    """Bias of `first` against `second` and the limits that hold 95 % of differences (Bland & Altman 1986, 1999).

    Limits: bias ± 1.96 sd, normal differences; their intervals by the delta method with CR2 errors by cluster.
    """
    a, b = check_columns(first=first, second=second, clusters=clusters, minimum=3)
    check_level(level)
    differences = a - b
    spread = float(differences.std(ddof=1))
    scale = float(max(np.abs(a).max(), np.abs(b).max()))

    def about(values: Floats, method: str) -> Estimate:
        return contrast_of_differences(
            values, clusters=clusters, level=level, n_missing=check_n_missing(n_missing), scale=scale, method=method
        ).estimate

    centred = differences - differences.mean()
    widening = spread + (centred**2 / spread - spread) / 2 if spread > 0 else np.zeros(len(differences))
    reach = t_quantile(0.975, np.inf)
    return BlandAltman(
        bias=about(differences, "mean difference, CR2 + Satterthwaite by cluster"),
        lower=_limit(about(differences - reach * widening, "limit"), float(differences.mean()) - reach * spread),
        upper=_limit(about(differences + reach * widening, "limit"), float(differences.mean()) + reach * spread),
    )


def _limit(estimate: Estimate, value: float) -> Estimate:
    """The linearised limit moved onto its exact value (they differ by the n − 1 in the standard deviation)."""
    moved = value - estimate.value
    return replace(
        estimate,
        value=value,
        low=None if estimate.low is None else estimate.low + moved,
        high=None if estimate.high is None else estimate.high + moved,
        equivalence=None,
        method="limit of agreement, normal differences, delta method, CR2 by cluster",
    )


def _mark_table(marks: Mapping[Any, ArrayLike], scores: Floats, clusters: Labels) -> Floats:
    """[annotators, n], NaN where not marked."""
    columns = {f"marks of {name}": np.asarray(column, dtype=np.float64) for name, column in marks.items()}
    check_same_length(judge=scores, clusters=clusters, **columns)
    table = np.stack(list(columns.values()))
    if np.isinf(table).any():
        raise InputError("`marks` must be finite or NaN for not marked, got infinity: clean the column")
    return table


def _alignment(marks: Floats, others: Floats, alignment: Alignment) -> Floats:
    """[n] how well marks fit the others' marks of the same item, of those who marked it: higher is closer."""
    if alignment == "exact":
        return np.asarray(np.nanmean(np.where(np.isnan(others), np.nan, others == marks), axis=0))
    return -np.asarray(np.sqrt(np.nanmean((others - marks) ** 2, axis=0)))


def _mean_share(shares: Sequence[tuple[Floats, Codes]], level: float) -> Estimate:
    """Mean over annotators of their shares; every row enters by its influence on that mean."""
    n, means = sum(len(one) for one, _ in shares), [float(one.mean()) for one, _ in shares]
    mean = float(np.mean(means))
    rows = [mean + (one - own) * n / (len(shares) * len(one)) for (one, _), own in zip(shares, means, strict=True)]
    clusters = np.concatenate([codes for _, codes in shares])
    spread = contrast_of_differences(np.concatenate(rows), clusters=clusters, level=level, scale=1.0).estimate
    return share_estimate(
        mean,
        spread.se,
        df=np.inf if spread.df is None else spread.df,
        n=n,
        n_clusters=spread.n_clusters,
        n_effective=spread.n_clusters,
        level=level,
        n_missing=0,
        method="advantage probability, mean over annotators, CR2 + Satterthwaite by cluster, logit t",
    )


def _advantage(is_close: Floats, is_beaten: NDArray[np.bool_], clusters: Codes, level: float) -> Estimate:
    result = contrast_of_differences(
        is_close - is_beaten,
        clusters=clusters,
        level=level,
        scale=1.0,
        method="advantage of the judge, CR2 + Satterthwaite by cluster",
    )
    return within_range(result.estimate, low=-1, high=1)


def _p_value(advantage: Estimate, epsilon: float) -> float | None:
    """One-sided, of advantage ≤ −ε; None with one cluster."""
    distance = advantage.value + epsilon
    if advantage.se is None or advantage.df is None:
        return None
    if advantage.se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(advantage.df, -distance / advantage.se))
