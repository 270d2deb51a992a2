"""What a rater's page remembers between two reruns, and what it does when a key is pressed.

Everything that matters is in the store: a ballot that is lost (a refresh, another device, a killed server) is drawn
again from the rater's link.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import UnavailableError
from harness.studies.casting import Action, Cast, cast_rating
from harness.studies.rankings import whole_ranking
from harness.studies.refusals import (
    AlreadyRatedError,
    InvalidRatingError,
    KeyReusedError,
    NotAssignedError,
    OutOfOrderError,
    RatingRefused,
    TakenOverError,
    TooManySkipsError,
)
from harness.studies.serving import Finished, RatingTask, next_task
from harness.types import VoteVerdict

if TYPE_CHECKING:
    from sqlalchemy import Engine

UNREAD_SECONDS = 0.4  # nobody has read an item this soon: the press was meant for the one before
TOO_SOON = "That press came the moment this item appeared, so it was not counted. Please read, then rate."
NOT_SAVED = "This rating could not be saved just now, and nothing was counted. Please press again."
RIGHT = "Yes: most people find that reply the better one."
NOT_RIGHT = "Most people find the other reply better: it answers what was said, this one only looks like it."
UNDONE = "Taken back. Here is the item again."
_REFUSED: Mapping[type[RatingRefused], str] = {
    AlreadyRatedError: "That item already had your rating, from another window or a moment before. It was kept, once.",
    KeyReusedError: "Two presses came for one item. The first was kept; undo it if you meant the other.",
    OutOfOrderError: "This window was behind another one of yours. Here is the item that is due; nothing was lost.",
    NotAssignedError: "That item is not among yours any more. Here is the one that is due; nothing was lost.",
    TakenOverError: "While you were away that item went to another rater. Here is your next one; nothing was lost.",
    TooManySkipsError: "You have skipped as many items as this study allows. Please rate this one as best you can.",
    InvalidRatingError: "That rating did not fit the item, and nothing was counted. Please rate it again.",
}


@dataclass(slots=True)
class Ballot:
    """One session of one rater."""

    token: str
    task: RatingTask | Finished | None = None  # None: ask the store
    nonce: str = ""  # of this showing; makes a double press one rating
    served_at: float = 0.0  # monotonic
    notice: str = ""  # to be shown with the task
    marks: dict[str, int] = field(default_factory=dict)  # given so far on the item at hand
    is_skipping: bool = False  # the reasons are shown
    n_heard: int = 0  # presses that reached this session

    def current(self, engine: Engine) -> RatingTask | Finished:
        """The task at hand; asks the store when there is none."""
        if self.task is None:
            self.task = next_task(engine, self.token)
            self.nonce = secrets.token_urlsafe(9)
            self.served_at = time.monotonic()
            self.marks = self._marks_before() if self.notice == UNDONE else {}
            self.is_skipping = False
        return self.task

    @property
    def n_given(self) -> int:
        """Presses that the item at hand holds: its marks, and the one that opened the reasons."""
        return len(self.marks) + self.is_skipping

    def _marks_before(self) -> dict[str, int]:
        """The marks of an item that was taken back, all but the last: undo goes back one by one."""
        if not isinstance(self.task, RatingTask):
            return {}
        before, asked = self.task.before, list(self.task.ranks)
        given = [(name, before[name]) for name in before if not asked or before[name] in asked]
        ranked = sorted(given, key=lambda pair: asked.index(pair[1])) if asked else given
        return dict(ranked[: (len(asked) or len(given)) - 1])

    def vote(self, engine: Engine, nonce: str, verdict: VoteVerdict, comment: str = "") -> None:
        """A verdict on the pair at hand."""
        if self._is_read(nonce):
            self._cast(engine, "vote", verdict=verdict, comment=comment)

    def mark(self, engine: Engine, nonce: str, criterion: str, mark: int, comment: str = "") -> None:
        """One mark of the reply at hand; the last one that is lacking saves them all."""
        if not self._is_read(nonce) or not isinstance(self.task, RatingTask):
            return
        self.marks[criterion] = mark
        if len(self.marks) == len(self.task.criteria):
            self._cast_marks(engine, dict(self.marks), comment)

    def rank(self, engine: Engine, nonce: str, place: int, comment: str = "") -> None:
        """The next rank for the reply at a place; when all are given that are asked for, they are saved."""
        if not self._is_read(nonce) or not isinstance(self.task, RatingTask):
            return
        self.marks[str(place)] = self.task.ranks[len(self.marks)]
        if len(self.marks) == len(self.task.ranks):
            n, is_best_worst = len(self.task.replies), self.task.is_best_worst
            whole = whole_ranking(self.marks, n_replies=n, is_best_worst=is_best_worst)
            self._cast_marks(engine, whole, comment)

    def _cast_marks(self, engine: Engine, marks: Mapping[str, int], comment: str) -> None:
        """Save the marks; where the store cannot be reached the last one is to be given again."""
        self._cast(engine, "vote", marks=marks, comment=comment)
        if self.task is not None:
            self.marks.popitem()

    def ask_reason(self, nonce: str, *, is_skipping: bool) -> None:
        """Show the reasons for leaving the item out, or the item's own buttons again."""
        self.n_heard += 1
        if nonce == self.nonce:
            self.is_skipping = is_skipping

    def skip(self, engine: Engine, nonce: str, reason: str) -> None:
        """Leave the item out, and say why."""
        self.n_heard += 1
        if nonce == self.nonce:
            self._cast(engine, "skip", reason=reason)

    def undo(self, engine: Engine, nonce: str) -> None:
        """Close the reasons, or take the last mark back, or else the last deed."""
        self.n_heard += 1
        if nonce != self.nonce:
            return
        if self.is_skipping:
            self.is_skipping = False
        elif self.marks:
            self.marks.popitem()
        elif self._cast(engine, "undo"):
            self.notice = UNDONE

    def _is_read(self, nonce: str) -> bool:
        """Whether a press can have been meant for the task at hand."""
        self.n_heard += 1
        if nonce != self.nonce:
            return False  # meant for an item that has its rating
        if not self.marks and time.monotonic() - self.served_at < UNREAD_SECONDS:
            self.notice = TOO_SOON
            return False
        self.notice = ""
        return True

    def _cast(
        self,
        engine: Engine,
        action: Action,
        *,
        verdict: VoteVerdict | None = None,
        marks: Mapping[str, int] | None = None,
        reason: str = "",
        comment: str = "",
    ) -> bool:
        """Store a deed through the one door; whatever comes of it, the next task is asked of the store."""
        task, self.task, self.notice = self.task, None, ""
        slot = task.slot if isinstance(task, RatingTask) and action != "undo" else None
        key = f"{self.nonce}.{action}"
        try:
            receipt = cast_rating(
                engine,
                self.token,
                Cast(
                    key=key,
                    action=action,
                    slot=slot,
                    verdict=verdict,
                    marks=marks or {},
                    reason=reason,
                    comment=comment,
                ),
            )
        except UnavailableError:
            self.task, self.notice = task, NOT_SAVED  # the same key again: it counts once, whatever reached the store
            return False
        except RatingRefused as err:
            self.notice = _REFUSED.get(type(err), "")  # a link that leads nowhere any more has a page of its own
            return False
        if receipt.is_right is not None:
            self.notice = RIGHT if receipt.is_right else NOT_RIGHT
        return True
