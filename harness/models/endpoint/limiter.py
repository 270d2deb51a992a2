"""Concurrency limiter: additive increase, multiplicative decrease (AIMD), as TCP finds the room on a line.

The limit rises by one for every answer until the server first shows that it has enough (429, 503, or latency), then by
one for every round of answers; each sign of congestion takes a share off, at most once a round.
"""

from __future__ import annotations

import asyncio
import time

from harness.models.endpoint.prices import Budget

START = 8
SHARE_KEPT_ON_REFUSAL = 0.5
SHARE_KEPT_ON_DELAY = 0.8
SLOW = 3.0  # times the best smoothed latency: the server queues
SMOOTHING = 0.1  # weight of the newest latency


class ConcurrencyLimiter:
    """Admits calls as the server can take them and the budget allows; used within one event loop."""

    def __init__(self, ceiling: int, budget: Budget | None = None) -> None:
        """`ceiling` is never exceeded, nor is `budget`: calls in flight are reserved at their worst."""
        self.ceiling = ceiling
        self.limit = float(min(START, ceiling))
        self.n_in_flight = 0
        self._budget = budget
        self._is_starting = True
        self._smoothed: float | None = None
        self._best: float | None = None
        self._last_cut = 0.0  # on the monotonic clock
        self._resume_at = 0.0
        self._changed = asyncio.Condition()

    async def enter(self, worst_usd: float = 0.0) -> bool:
        """Wait for a place and for room in the budget, and take both; False when nothing in flight can make room."""

        def can_tell() -> bool:
            return self.n_in_flight < max(1, int(self.limit)) and (self._fits(worst_usd) or self.n_in_flight == 0)

        async with self._changed:
            await self._changed.wait_for(can_tell)
            if not self._fits(worst_usd):
                return False
            self.n_in_flight += 1
            if self._budget is not None:
                self._budget.reserved_usd += worst_usd
            return True

    async def leave(self, worst_usd: float = 0.0, cost_usd: float = 0.0) -> None:
        """Give the place back; what was reserved becomes what it cost."""
        async with self._changed:
            self.n_in_flight -= 1
            if self._budget is not None:
                self._budget.reserved_usd -= worst_usd
                self._budget.spent_usd += cost_usd
            self._changed.notify_all()

    def pause_left(self) -> float:
        """Seconds until the server wants to be asked again; 0 or less: now."""
        return self._resume_at - time.monotonic()

    def succeeded(self, *, began: float, seconds: float) -> None:
        """An answer came: make room, unless answers have become slow."""
        self._smoothed = seconds if self._smoothed is None else self._smoothed + SMOOTHING * (seconds - self._smoothed)
        self._best = self._smoothed if self._best is None else min(self._best, self._smoothed)
        if self._smoothed > SLOW * self._best:
            self._cut(began, SHARE_KEPT_ON_DELAY)
            # What is slow now may be the model's usual pace on longer text: measure anew rather than shrink for ever.
            self._best = self._smoothed
            return
        self.limit = min(float(self.ceiling), self.limit + (1.0 if self._is_starting else 1.0 / self.limit))

    def congested(self, *, began: float, retry_after: float | None) -> None:
        """The server refused for having too much to do; where it says for how long, nobody asks until then."""
        self._cut(began, SHARE_KEPT_ON_REFUSAL)
        if retry_after is not None:
            self._resume_at = max(self._resume_at, time.monotonic() + retry_after)

    def _cut(self, began: float, share: float) -> None:
        if began < self._last_cut:  # sent before the last cut: the same congestion, seen again
            return
        self._is_starting = False
        self._last_cut = time.monotonic()
        self.limit = max(1.0, self.limit * share)

    def _fits(self, worst_usd: float) -> bool:
        return self._budget is None or self._budget.fits(worst_usd)
