"""Named results of the statistics; never tuples."""

from __future__ import annotations

from dataclasses import dataclass

from harness.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """An effect with its interval and its test; what `verdict` judges."""

    __test__ = False  # the name is the domain's; pytest must not collect it

    estimate: Estimate
    p_value: float | None  # two-sided; None where nothing can be tested (one cluster)
    statistic: float | None  # t, z, W …: the method says which
    note: str = ""  # what a reader must know before using the p value
