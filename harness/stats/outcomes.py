"""Named results of the statistics; never tuples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.stats.intervals import fisher_interval, t_interval, t_p_value
from harness.stats.rows import Floats
from harness.types import Estimate

ONE_CLUSTER = "one cluster: no interval can be given"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """An effect with its interval and its test; what `verdict` judges."""

    __test__ = False  # the name is the domain's; pytest must not collect it

    estimate: Estimate
    p_value: float | None  # two-sided; None where nothing can be tested (one cluster)
    statistic: float | None  # t, z, W …: the method says which
    note: str = ""  # what a reader must know before using the p value


def t_test(estimate: Estimate, *, note: str = "") -> TestResult:
    """t test of 0 by the estimate's own standard error and degrees of freedom; `note` says why there is none."""
    if not estimate.se or estimate.df is None:
        return TestResult(estimate=estimate, p_value=None, statistic=None, note=note or "; ".join(estimate.notes))
    statistic = estimate.value / estimate.se
    return TestResult(estimate=estimate, p_value=t_p_value(statistic, estimate.df), statistic=statistic)


def t_estimate(
    value: float, se: float | None, df: float | None, *, n: int, n_clusters: int, level: float, method: str,
    n_missing: int = 0, notes: tuple[str, ...] = (),
) -> Estimate:  # fmt: skip
    """A value with its t interval; without a standard error, of one cluster, none, and the note says so."""
    bare = Estimate(
        value=value, low=None, high=None, level=level, n=n, n_clusters=n_clusters, n_missing=n_missing, method=method
    )
    if se is None or df is None:
        return replace(bare, notes=(ONE_CLUSTER, *notes))
    ends = t_interval(value, se, df, level=level)
    return replace(bare, low=ends.low, high=ends.high, df=df, se=se, notes=notes)


def bootstrap_se(drawn: Sequence[Floats]) -> float | None:
    """Standard deviation of a statistic over blocks of resamples; None when most of them leave it undefined (NaN)."""
    values = np.concatenate(drawn)
    usable = values[np.isfinite(values)]
    return float(usable.std(ddof=1)) if len(usable) > len(values) / 2 else None


def fisher_estimate(
    value: float, se: float | None, *, n: int, n_clusters: int, n_missing: int, level: float, method: str, perfect: str,
    flat: str = "",
) -> Estimate:  # fmt: skip
    """A value in [−1, 1] with a t interval on Fisher's z scale; `perfect` and `flat` say why there is none at ±1."""
    df = float(n_clusters - 1)
    why_not = ONE_CLUSTER if n_clusters == 1 else perfect if 1 - abs(value) < 1e-12 else flat if se is None else ""
    ends = None if why_not or se is None else fisher_interval(value, se, df, level=level)
    return Estimate(
        value=value,
        low=None if ends is None else ends.low,
        high=None if ends is None else ends.high,
        level=level,
        n=n,
        n_clusters=n_clusters,
        n_missing=n_missing,
        method=method,
        df=None if ends is None else df,
        se=se,
        notes=(why_not,) if why_not else (),
    )
