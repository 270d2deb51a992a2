"""What must be there, for tests and for type checkers: `from certain import ends, holds, sure`."""

from __future__ import annotations

from typing import TypeVar

from harness.types import Estimate

T = TypeVar("T")


def sure(value: T | None) -> T:
    """The value, which must not be None."""
    assert value is not None
    return value


def ends(estimate: Estimate | None) -> tuple[float, float]:
    """Both ends of an interval."""
    return sure(sure(estimate).low), sure(sure(estimate).high)


def holds(estimate: Estimate | None, value: float | None = None) -> bool:
    """Whether a value, without one the estimate's own, lies between the ends of its interval."""
    low, high = ends(estimate)
    return low < (sure(estimate).value if value is None else value) < high
