"""What every judge is: something that gives one score per reply and criterion, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from harness.types import Criterion, JudgedItem, Progress, Score

OnProgress = Callable[[Progress], None]


@runtime_checkable
class Judge(Protocol):
    """Scores replies. Same items, same judge id, same machine: same scores."""

    @property
    def id(self) -> str:
        """`name@8 hex digits`: hash of everything that decides a score; see `harness.judging.spec.judge_id`."""

    @property
    def family(self) -> str:
        """Model family, to notice a judge that judges its own kind."""

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What it scores, in the order of its scores."""

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """One score per item and criterion: all criteria of the first item, then those of the second, and so on.

        An item that names criteria is scored on these alone, in the judge's order.

        A reply that cannot be scored gives a missing score with its status; one bad item never spoils the call. Items
        that share a conversation are cheaper in one call than in several. Raises JudgeError only when no item at all
        can be scored, e.g. because a score is not a single token of the model.
        """
