"""A table of what was checked before any work, and what models behind endpoints would be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from harness.errors import InputError, ScreentestError

if TYPE_CHECKING:
    from harness.experiment.judges.spending import Planned
    from harness.experiment.session import Session

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the table."""

    what: str
    found: str
    error: ScreentestError | None = None  # why it lacks

    @property
    def is_lacking(self) -> bool:
        """Whether work cannot begin without it."""
        return self.error is not None


@dataclass(kw_only=True)
class Preflight:
    """What was checked, and what models behind endpoints would be asked."""

    checks: list[Check] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)

    @property
    def lacking(self) -> str:
        """The first thing that is not there, as a sentence; empty where nothing is."""
        return next((check.found for check in self.checks if check.is_lacking), "")

    def say(self, what: str, found: str) -> None:
        """Add a line."""
        self.checks.append(Check(what=what, found=found))

    def lack(self, what: str, error: ScreentestError) -> None:
        """Add a line on what is not there, once."""
        if not any(check.found == str(error) for check in self.checks):
            self.checks.append(Check(what=what, found=str(error), error=error))

    def ask(self, what: str, find: Callable[[], Found], *, words: Callable[[Found], str]) -> Found | None:
        """Open something; what it says of itself is a line, and what is wrong with it is one that lacks."""
        try:
            found = find()
            self.say(what, words(found))
        except ScreentestError as err:
            self.lack(what, err)
            return None
        return found

    def say_money(self, session: Session) -> None:
        """Add what endpoints could cost, and whether the budget lets anything begin."""
        if not self.planned:
            return
        prices = [p.plan.usd_at_most for p in self.planned]
        n = sum(p.plan.n_calls - p.plan.n_known for p in self.planned)
        usd, budget = sum(price or 0.0 for price in prices), session.spending.budget
        unknown = ", and what has no known price" if None in prices else ""
        held = "" if budget is None else f"; the budget is ${budget.limit_usd:g}"
        self.say("money", f"{n:,} calls, at most ${usd:.4f}{unknown}{held}")
        if budget is not None and budget.limit_usd == 0 and n and usd:
            said = f"`--budget-usd` must be above 0 where {n:,} calls have a price, got 0; raise it, or drop the judge"
            self.lack("money", InputError(said))

    def begin(self, say: Callable[[str], None]) -> None:
        """Say the table, and refuse to begin where something lacks.

        Raises ScreentestError: it does; the sentence says what.
        """
        for line in self.lines():
            say(line)
        if (error := next((check.error for check in self.checks if check.error is not None), None)) is not None:
            raise error

    def lines(self) -> Iterator[str]:
        """The table as lines for a screen."""
        width = max((len(check.what) for check in self.checks), default=0)
        for check in self.checks:
            yield f"  {'✗' if check.is_lacking else '✓'} {check.what:<{width}}  {check.found}"
