"""Spending limit: no call is sent that could cross it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import BudgetError


@dataclass(slots=True)
class Budget:
    """US dollars spent and reserved; shared by everything that one command asks, one queue at a time."""

    limit_usd: float  # counts from now: what earlier commands spent is theirs
    spent_usd: float = 0.0
    reserved_usd: float = 0.0  # what calls in flight could cost at most

    def fits(self, worst_usd: float) -> bool:
        """Whether a call that costs so much at most can be sent."""
        return self.spent_usd + self.reserved_usd + worst_usd <= self.limit_usd

    def reached(self, n_left: int) -> BudgetError:
        """The error with which a command ends that may send nothing more."""
        return BudgetError(
            f"`--budget-usd` {self.limit_usd:g} leaves no room for another call: ${self.spent_usd:.4f} is spent, "
            f"{n_left} calls are left; what was answered is kept, run again with a budget for the rest"
        )
