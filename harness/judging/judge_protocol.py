"""What every judge is: something that scores a reply, alone or against an opponent, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from harness.models.endpoint.calls import ChatCall
from harness.models.protocol import OnProgress
from harness.types import Criterion, JudgedItem, Score


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

    @property
    def compares(self) -> bool:
        """Whether it scores a reply against its opponent, which every item must then have: a pairwise judge."""

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """One score per item and criterion: all criteria of the first item, then those of the second, and so on.

        Where it compares, there are two, one for each order in which the pair is shown: the reply first, then second.
        An item that names criteria is scored on these alone, in the judge's order.

        A reply that cannot be scored gives a missing score with its status; one bad item never spoils the call. Items
        that share a conversation are cheaper in one call than in several. Raises JudgeError only when no item at all
        can be scored, e.g. because a score is not a single token of the model.
        """


@runtime_checkable
class RemoteJudge(Judge, Protocol):
    """A judge behind an endpoint, whose calls can be counted before they are sent."""

    def calls(self, items: Sequence[JudgedItem]) -> list[ChatCall]:
        """What `score` would ask first for each item; a metric whose next question depends on the answers asks more."""


@runtime_checkable
class TaughtJudge(Judge, Protocol):
    """A judge that was taught what faults look like, and can be asked as if it had not been taught one."""

    @property
    def films(self) -> frozenset[str]:
        """The films that taught it: controls are planted in others."""

    def taught(self, criterion: str) -> frozenset[str]:
        """The control families that it was taught of a criterion."""

    def without(self, family: str) -> Judge:
        """The judge that was taught everything but this family."""
