"""A limit on what one command may spend: no call is sent that could cross it."""

from __future__ import annotations

import asyncio

from harness.errors import BudgetError


class Budget:
    """US dollars spent and reserved; shared by everything that one command asks."""

    def __init__(self, limit_usd: float) -> None:
        """`limit_usd` counts from now: what earlier commands spent is theirs."""
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self._reserved_usd = 0.0

    async def reserve(self, worst_usd: float, settled: asyncio.Condition) -> bool:
        """Set aside what a call could cost at most; False when it does not fit and nothing in flight can make room.

        `settled` is notified when a call in flight has become cheaper than its worst case.
        """
        async with settled:
            await settled.wait_for(lambda: self._fits(worst_usd) or self._reserved_usd <= 0.0)
            if not self._fits(worst_usd):
                return False
            self._reserved_usd += worst_usd
            return True

    async def settle(self, worst_usd: float, cost_usd: float, settled: asyncio.Condition) -> None:
        """Replace a reservation by what the call cost."""
        async with settled:
            self.spent_usd += cost_usd
            # Sums of fractions leave a remainder that would be waited for for ever.
            left = self._reserved_usd - worst_usd
            self._reserved_usd = left if left > 1e-12 else 0.0
            settled.notify_all()

    def reached(self, n_left: int) -> BudgetError:
        """The error with which a command ends that may send nothing more."""
        return BudgetError(
            f"`--budget-usd` {self.limit_usd:g} leaves no room for another call: ${self.spent_usd:.4f} is spent, "
            f"{n_left} calls are left; what was answered is kept, run again with a budget for the rest"
        )

    def _fits(self, worst_usd: float) -> bool:
        return self.spent_usd + self._reserved_usd + worst_usd <= self.limit_usd
