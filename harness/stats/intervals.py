"""Turning an estimate, its standard error and its degrees of freedom into an interval and a p value.

Skewness of clustered means is what a symmetric t interval misses when few clusters carry a lopsided sum. With residual
sums e of the clusters, γ = Σ e³ / (Σ e²)^1.5 is the skewness of their mean (Hall 1992, The Bootstrap and Edgeworth
Expansion). Two-sided coverage suffers by γ² to first order, each side alone by γ: hence a widening for intervals, and
ends of their own for two one-sided tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.stats.rows import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The two ends of a confidence interval."""

    low: float
    high: float


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t; the normal's when `df` is infinite."""
    return float(special.ndtri(probability) if math.isinf(df) else special.stdtrit(df, probability))


def t_p_value(statistic: float, df: float) -> float:
    """Two-sided p value of a t statistic."""
    tail = special.ndtr(-abs(statistic)) if math.isinf(df) else special.stdtr(df, -abs(statistic))
    return float(min(1.0, 2 * tail))


def t_interval(value: float, se: float, df: float, *, level: float) -> Interval:
    """`value ± t · se`."""
    half = t_quantile((1 + level) / 2, df) * se
    return Interval(low=value - half, high=value + half)


def share_interval(share: float, se: float, df: float, *, n_clusters: int, level: float) -> Interval:
    """Interval of a probability: t interval on the logit scale, so that it stays inside (0, 1).

    With no variance between clusters (all right, all wrong, all tied) the logit scale has nothing to say; there each
    cluster counts as one Bernoulli trial and the Clopper–Pearson interval for `share · n_clusters` of `n_clusters` is
    taken, with real-valued counts. That is conservative, on purpose.
    """
    if se <= 0 or share <= 0 or share >= 1:
        return beta_interval(share * n_clusters, n_clusters, level=level)
    centre = math.log(share / (1 - share))
    ends = t_interval(centre, se / (share * (1 - share)), df, level=level)
    return Interval(low=float(special.expit(ends.low)), high=float(special.expit(ends.high)))


def fisher_interval(value: float, se: float, df: float, *, level: float) -> Interval:
    """Interval of a correlation or agreement in (−1, 1): t interval on Fisher's z scale, se carried by 1 / (1 − v²)."""
    ends = t_interval(math.atanh(value), se / (1 - value**2), df, level=level)
    return Interval(low=math.tanh(ends.low), high=math.tanh(ends.high))


def beta_interval(hits: float, trials: float, *, level: float) -> Interval:
    """Clopper–Pearson interval; `hits` and `trials` may be effective, real-valued counts (Korn & Graubard 1998)."""
    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else float(special.betaincinv(hits, trials - hits + 1, tail))
    high = 1.0 if hits >= trials else float(special.betaincinv(hits + 1, trials - hits, 1 - tail))
    return Interval(low=low, high=high)


LARGEST = 0.9  # beyond it the cubic is past its turning point
UNSEEN = 10.0  # clusters: few of them understate skewness, ten by about one half


def skewness(sums: Floats) -> float:
    """γ of residual sums [clusters]; 0 where they do not vary."""
    largest = float(np.abs(sums).max())
    unit = sums / largest if largest > 0 else sums
    return float(np.sum(unit**3)) / float(unit @ unit) ** 1.5 if largest > 0 else 0.0


def widening(gamma: float) -> float:
    """Factor of a standard error: z (1 + γ²) restores two-sided coverage to first order at 95 %."""
    return 1 + gamma**2


def equivalence_ends(
    value: float, se: float, df: float, *, gamma: float, n_clusters: int, level: float
) -> tuple[float, float]:
    """Ends for two one-sided tests at `level`: the hull of the t interval and of Hall's transformed one.

    Hall (1992, JRSS B 54:221) studentises with a cubic that removes skewness; its inverse gives each end its own
    quantile. The hull keeps the t end on the side where skewness would narrow it.
    """
    t = t_quantile(level, df)
    skew = min(LARGEST, max(-LARGEST, gamma * (1 + UNSEEN / n_clusters)))
    low, high = value - se * _untransformed(t, skew), value - se * _untransformed(-t, skew)
    return min(value - t * se, low), max(value + t * se, high)


def _untransformed(quantile: float, skew: float) -> float:
    if abs(skew) < 1e-6:
        return quantile
    return 3 * (math.cbrt(1 + skew * (quantile - skew / 6)) - 1) / skew
