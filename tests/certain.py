"""What must be there, golden numbers and chance, for tests: `from certain import ends, golden, holds, rng, sure`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.types import Estimate

T = TypeVar("T")


def rng(seed: int = 0) -> np.random.Generator:
    """A stream of chance that begins anew."""
    return np.random.default_rng(seed)


def golden(name: str) -> Any:
    """What other tools gave, as `tests/golden/stats` holds it."""
    return json.loads((Path(__file__).parent / "golden" / "stats" / f"{name}.json").read_text())


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
