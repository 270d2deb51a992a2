"""Skewness of clustered means: what a symmetric t interval misses when few clusters carry a lopsided sum.

With residual sums e of the clusters, γ = Σ e³ / (Σ e²)^1.5 is the skewness of their mean (Hall 1992, The Bootstrap and
Edgeworth Expansion). Two-sided coverage suffers by γ² to first order, each side alone by γ: hence a widening for
intervals, and ends of their own for two one-sided tests.
"""

from __future__ import annotations

import math

import numpy as np

from harness.stats.intervals import Interval, t_quantile
from harness.stats.rows import Floats

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
    plain = Interval(low=value - t * se, high=value + t * se)
    low, high = value - se * _untransformed(t, skew), value - se * _untransformed(-t, skew)
    return min(plain.low, low), max(plain.high, high)


def _untransformed(quantile: float, skew: float) -> float:
    if abs(skew) < 1e-6:
        return quantile
    return 3 * (math.cbrt(1 + skew * (quantile - skew / 6)) - 1) / skew
