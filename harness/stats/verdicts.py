"""From a test to a claim: better, worse, equivalent, inconclusive or exploratory.

The order of the rules, first match wins:

1. no interval, or fewer than `min_clusters` clusters: *inconclusive*; the t interval of a handful of clusters is
   honest, but one odd film decides it;
2. not in the declared family: *exploratory*, whatever it shows;
3. clusters vary, and the 1 − 2(1 − level) interval lies inside ± the smallest effect (two one-sided tests, Schuirmann
   1987, with ends that mind skewness: `skew`): *equivalent*, even when the difference excludes 0, since a difference
   that is surely too small to matter is no improvement; the reason then says that it is not zero;
4. adjusted p value below 1 − level: *better* or *worse* by sign. The reason says whether the whole interval lies beyond
   the smallest effect or the difference may still be smaller than that;
5. else *inconclusive*, with what would settle it.

Holm guards the better / worse claims of a family; equivalence is tested per contrast at 1 − level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.intervals import Interval, t_interval, t_quantile
from harness.stats.outcomes import TestResult
from harness.stats.quantiles import quantile_of_sorted
from harness.stats.rows import Floats, check_level, check_positive, check_values
from harness.types import Direction, Estimate, SmallestEffect, Verdict, VerdictLabel

POWER = 0.8  # with which "what would settle it" wants to see the difference
MAX_SETTLE_CLUSTERS = 100_000


def verdict(
    test: TestResult,
    *,
    better: Direction,
    smallest_effect: float | None,
    p_adjusted: float | None,
    level: float = 0.95,
    min_clusters: int = 10,
    in_family: bool = True,
) -> Verdict:
    """What may be claimed of a contrast; the rules stand at the top of this module.

    Args:
        test: effect of the first arm minus the second, with its interval and p value.
        better: whether a positive difference is an improvement ("higher") or the opposite ("lower").
        smallest_effect: smallest difference that matters, above 0, in the unit of the estimate; None: none declared.
        p_adjusted: the p value after the family's adjustment (`multiplicity.adjust`); None where there is no test.
        min_clusters: fewer clusters than this support no claim.
        in_family: whether the contrast was declared beforehand.
    """
    check_level(level)
    if better not in ("higher", "lower"):
        raise InputError(f"`better` must be higher or lower, got {better!r}: say which sign is an improvement")
    if smallest_effect is not None:
        check_positive("smallest_effect", smallest_effect)
    if p_adjusted is not None and not 0 <= p_adjusted <= 1:
        raise InputError(f"`p_adjusted` must lie in [0, 1], got {p_adjusted}: take it from `adjust`")
    found = _no_claim(test.estimate, min_clusters, in_family) or _claim(
        test, smallest_effect, p_adjusted, better=better, level=level
    )
    return replace(found, p_value=test.p_value, p_adjusted=p_adjusted, in_family=in_family)


def clusters_to_settle(
    estimate: Estimate, *, effect: float, level: float = 0.95, power: float = POWER, n_tests: int = 1
) -> int | None:
    """Clusters in all that show a true difference of `effect` with `power`, if clusters go on as they were.

    The standard error shrinks with √clusters; t quantiles with clusters − 1 degrees of freedom. None where the
    estimate has no standard error, or where even 100,000 clusters do not suffice.
    """
    if estimate.se is None or estimate.se == 0 or effect == 0:
        return None
    scatter = estimate.se * math.sqrt(estimate.n_clusters) / abs(effect)
    tail = (1 - level) / (2 * n_tests)
    n = 2
    for _ in range(60):
        needed = math.ceil((scatter * (t_quantile(1 - tail, n - 1) + t_quantile(power, n - 1))) ** 2)
        if needed > MAX_SETTLE_CLUSTERS and n > 30:
            return None
        step = max(2, min(needed, MAX_SETTLE_CLUSTERS))
        if step == n:
            break
        n = step if step > n else max(step, (n + step) // 2)
    return n


def equivalence_interval(estimate: Estimate, *, level: float = 0.95) -> Interval | None:
    """The 1 − 2(1 − level) interval of the two one-sided tests; the full interval where no standard error is known.

    None where no cluster differs from another: an interval without width would be certainty out of a few films.
    """
    if estimate.low is None or estimate.high is None or estimate.se == 0:
        return None
    if estimate.se is None or estimate.df is None:
        return Interval(low=estimate.low, high=estimate.high)
    if estimate.equivalence is not None and level == estimate.level:
        return Interval(low=estimate.equivalence[0], high=estimate.equivalence[1])
    return t_interval(estimate.value, estimate.se, estimate.df, level=2 * level - 1)


def _no_claim(estimate: Estimate, min_clusters: int, in_family: bool) -> Verdict | None:
    """The reasons to claim nothing, before any number is looked at."""
    if not estimate.has_interval:
        lone = "seed" if estimate.n_crossed == 1 else "cluster"
        reason = f"One {lone} gives no interval."
        return Verdict(label="inconclusive", reason=reason, settle=f"At least two {lone}s are needed.")
    if estimate.n_clusters < min_clusters:
        reason = f"Too few clusters: {estimate.n_clusters} of the {min_clusters} that a claim needs."
        lack = min_clusters - estimate.n_clusters
        return Verdict(label="inconclusive", reason=reason, settle=f"At least {lack} more {_plural(lack, 'cluster')}.")
    if not in_family:
        return Verdict(label="exploratory", reason="Not declared before the run: no claim, whatever it shows.")
    return None


def _claim(
    test: TestResult, margin: float | None, p_adjusted: float | None, *, better: Direction, level: float
) -> Verdict:
    estimate = test.estimate
    is_different = p_adjusted is not None and p_adjusted < 1 - level
    if margin is not None and _is_inside(equivalence_interval(estimate, level=level), margin):
        also = " It does differ from 0, by less than matters." if is_different else ""
        reason = f"The difference is smaller than {margin:g}, the smallest that matters.{also}"
        return Verdict(label="equivalent", reason=reason)
    if is_different:
        label: VerdictLabel = "better" if (estimate.value > 0) == (better == "higher") else "worse"
        return Verdict(label=label, reason=_size_of(estimate, margin))
    settle = _settle(estimate, margin, level=level, n_tests=_n_tests(test.p_value, p_adjusted))
    return Verdict(label="inconclusive", reason=_doubt(test, margin, level), settle=settle)


def _size_of(estimate: Estimate, margin: float | None) -> str:
    if estimate.low is None or estimate.high is None or margin is None:
        return "The difference excludes 0; no smallest effect that matters was declared."
    if min(abs(estimate.low), abs(estimate.high)) >= margin and estimate.low * estimate.high > 0:
        return f"The difference is at least {margin:g}, the smallest that matters."
    return f"The difference excludes 0, but may be smaller than {margin:g}, the smallest that matters."


def _doubt(test: TestResult, margin: float | None, level: float) -> str:
    estimate = test.estimate
    if estimate.se == 0:
        return "No cluster differs from another, so how far others would scatter is not known."
    if test.p_value is not None and test.p_value < 1 - level:
        return "The difference excludes 0 alone, but not after adjusting for the other declared contrasts."
    if margin is None:
        return "The difference does not exclude 0."
    if estimate.low is not None and estimate.high is not None and -margin < estimate.low and estimate.high < margin:
        within = f"The interval lies within {margin:g}, the smallest that matters"  # `equivalence_ends` reach further
        return f"{within}, but does not once it is widened for skewed clusters."
    return f"The difference excludes neither 0 nor {margin:g}, the smallest that matters."


def _settle(estimate: Estimate, margin: float | None, *, level: float, n_tests: int) -> str:
    if estimate.se == 0:
        return "More clusters would show whether any of them differs."
    effect = margin if margin is not None else abs(estimate.value)
    needed = clusters_to_settle(estimate, effect=effect, level=level, n_tests=n_tests)
    target = f"a difference of {effect:.3g}" + ("" if margin is not None else ", the one seen,")
    if needed is None:
        return "More clusters would hardly settle it: the difference seen is too close to 0 to plan for."
    extra = needed - estimate.n_clusters
    if extra <= 0:
        return (
            f"{estimate.n_clusters} clusters show {target} {POWER:.0%} of the time: this was one of the other times, "
            "or the true difference is smaller."
        )
    prompts = math.ceil(extra * estimate.n / estimate.n_clusters)
    return (
        f"About {extra:,} more {_plural(extra, 'cluster')} ({prompts:,} more {_plural(prompts, 'prompt')}) would show "
        f"{target} {POWER:.0%} of the time."
    )


def _n_tests(raw: float | None, adjusted: float | None) -> int:
    """The factor that the family's adjustment put on this p value: the number of tests it had to stand among."""
    if raw is None or adjusted is None or raw == 0 or adjusted >= 1:
        return 1
    return max(1, round(adjusted / raw))


def _is_inside(interval: Interval | None, margin: float) -> bool:
    return interval is not None and -margin < interval.low and interval.high < margin


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def smallest_effect_in_units(smallest: SmallestEffect, control: ArrayLike) -> float:
    """The smallest effect in the unit of the scores, above 0.

    `points`, `bits_per_byte`, `share` and `nats` are that unit already. `sd_of_control` is multiplied by the standard
    deviation of the control arm's rows. `quantile_of_control`, a share s between 0 and 0.5, is the distance from the
    control's median to its 0.5 + s quantile (0.1: from the 50th to the 60th percentile).
    """
    value = check_positive("smallest_effect", smallest.value)
    if smallest.unit not in ("sd_of_control", "quantile_of_control"):
        return value
    scores = check_values("control", control, minimum=2)
    effect = value * float(scores.std(ddof=1)) if smallest.unit == "sd_of_control" else _quantile_step(scores, value)
    if effect <= 0:
        raise InputError(
            f"`smallest_effect` of {value:g} {smallest.unit} must be above 0, got 0 since the control hardly varies: "
            "declare it in points"
        )
    return effect


def _quantile_step(scores: Floats, share: float) -> float:
    if share >= 0.5:
        raise InputError(
            f"`smallest_effect` in quantile_of_control must lie between 0 and 0.5, got {share:g}: 0.1 is usual"
        )
    ordered = np.sort(scores)
    return quantile_of_sorted(ordered, 0.5 + share) - quantile_of_sorted(ordered, 0.5)


Method = Literal["holm", "bh", "by"]


def adjust(p_values: Sequence[float], *, method: Method = "holm") -> list[float]:
    """Adjusted p values, in the order given.

    `holm` (Holm 1979): all decisions of the family are right together with the stated confidence, whatever the
    dependence. `bh` (Benjamini & Hochberg 1995): the expected share of false claims among the claims made, for
    independent or positively dependent tests; `by` (Benjamini & Yekutieli 2001): the same under any dependence. Compare
    each with 1 − level. An empty family gives an empty list.
    Raises InputError on a value outside [0, 1] (a test that could not be made is not part of the list).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise InputError(f"`p_values` must lie in [0, 1], got {list(p_values)}: leave out the contrasts without a test")
    if method not in ("holm", "bh", "by"):
        raise InputError(f"`method` must be holm, bh or by, got {method!r}: holm is the default")
    n = len(p)
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    if method == "holm":
        stepped = np.maximum.accumulate(ranked * np.arange(n, 0, -1))
    else:
        penalty = float(np.sum(1 / np.arange(1, n + 1))) if method == "by" else 1.0
        stepped = np.minimum.accumulate((ranked * penalty * n / np.arange(1, n + 1))[::-1])[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
