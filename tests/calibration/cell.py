"""One simulated situation, and how an interval is judged in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.types import Estimate

Draw = Callable[[Counter[str], np.random.Generator], None]  # one draw, counted by method


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One simulated situation."""

    table: str  # which table of the page
    name: str  # its row there
    draw: Draw
    counts: str = "covered"  # or "rejected"
    target_low: float | None = None  # of the project's own method, as a share of draws
    target_high: float | None = None
    why: str = ""  # explains a miss that is known

    def simulate(self, n_draws: int, rng: np.random.Generator) -> dict[str, int]:
        """How often each method was right, in the order of the first draw."""
        hits: Counter[str] = Counter()
        for _ in range(n_draws):
            self.draw(hits, rng)
        return dict(hits)


def covers(estimate: Estimate, truth: float) -> bool:
    """Whether the interval holds the truth; no interval holds nothing."""
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high
