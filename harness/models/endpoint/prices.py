"""What a call costs: a dated list of prices, and arithmetic that knows when it does not know."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field, TypeAdapter

from harness.config import StrictConfig
from harness.errors import BudgetError
from harness.models.endpoint.calls import ChatCall, ChatResult

PRICES = Path(__file__).with_name("prices.yaml")
MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    source: str = ""  # where it was read, and when

    def of(self, *, n_input: int, n_output: int) -> float:
        """What a call costs, US dollars."""
        return (self.input * n_input + self.output * n_output) / MILLION

    def at_most(self, call: ChatCall) -> float:
        """What an attempt of a call could cost."""
        return self.of(n_input=call.n_input_at_most, n_output=call.n_output_at_most)

    def of_result(self, result: ChatResult) -> float | None:
        """What an answered call cost; None where the server does not say."""
        known = result.n_input is not None and result.n_output is not None
        return self.of(n_input=result.n_input or 0, n_output=result.n_output or 0) if known else None


class _Listed(StrictConfig):
    """A row of the list."""

    endpoint: str
    model: str
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    date: datetime.date
    source: str


def listed_price(url: str, model: str) -> Price | None:
    """The list's price of a model at a server; None where it is unknown.

    A name alone is not enough: a server of one's own may call its model anything.
    """
    for row in _listed():
        if (row.endpoint, row.model) == (url, model):
            return Price(input=row.input, output=row.output, source=f"{row.source}, {row.date.isoformat()}")
    return None


@functools.cache
def _listed() -> tuple[_Listed, ...]:
    rows = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    return tuple(TypeAdapter(tuple[_Listed, ...]).validate_python(rows))


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
