"""What a rater's page remembers between two reruns, and what it does when a key is pressed.

Everything that matters is in the store: a ballot that is lost (a refresh, another device, a killed server) is drawn
again from the rater's link.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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

    engine: Engine
    token: str
    task: RatingTask | Finished | None = None  # None: ask the store
    nonce: str = ""  # of this showing; makes a double press one rating
    served_at: float = 0.0  # monotonic
    notice: str = ""  # to be shown with the task
    marks: dict[str, int] = field(default_factory=dict)  # given so far on the item at hand
    is_skipping: bool = False  # the reasons are shown
    n_heard: int = 0  # presses that reached this session

    def current(self) -> RatingTask | Finished:
        """The task at hand; asks the store when there is none."""
        if self.task is None:
            self.task = next_task(self.engine, self.token)
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

    def vote(self, nonce: str, verdict: VoteVerdict, comment: str = "") -> None:
        """A verdict on the pair at hand."""
        if self._read(nonce) is not None:
            self._cast("vote", verdict=verdict, comment=comment)

    def mark(self, nonce: str, criterion: str, mark: int, comment: str = "") -> None:
        """One mark of the reply at hand; the last one that is lacking saves them all."""
        if (task := self._read(nonce)) is not None:
            self.marks[criterion] = mark
            if len(self.marks) == len(task.criteria):
                self._cast_marks(dict(self.marks), comment)

    def rank(self, nonce: str, place: int, comment: str = "") -> None:
        """The next rank for the reply at a place; when all are given that are asked for, they are saved."""
        if (task := self._read(nonce)) is not None:
            self.marks[str(place)] = task.ranks[len(self.marks)]
            if len(self.marks) == len(task.ranks):
                n, is_best_worst = len(task.replies), task.is_best_worst
                self._cast_marks(whole_ranking(self.marks, n_replies=n, is_best_worst=is_best_worst), comment)

    def _cast_marks(self, marks: Mapping[str, int], comment: str) -> None:
        """Save the marks; where the store cannot be reached the last one is to be given again."""
        self._cast("vote", marks=marks, comment=comment)
        if self.task is not None:
            self.marks.popitem()

    def ask_reason(self, nonce: str, *, is_skipping: bool) -> None:
        """Show the reasons for leaving the item out, or the item's own buttons again."""
        if self._is_at_hand(nonce):
            self.is_skipping = is_skipping

    def skip(self, nonce: str, reason: str) -> None:
        """Leave the item out, and say why."""
        if self._is_at_hand(nonce):
            self._cast("skip", reason=reason)

    def undo(self, nonce: str) -> None:
        """Close the reasons, or take the last mark back, or else the last action."""
        if not self._is_at_hand(nonce):
            return
        if self.is_skipping:
            self.is_skipping = False
        elif self.marks:
            self.marks.popitem()
        elif self._cast("undo"):
            self.notice = UNDONE

    def _is_at_hand(self, nonce: str) -> bool:
        """Whether a press was made for this showing, and not for an item that has its rating."""
        self.n_heard += 1
        return nonce == self.nonce

    def _read(self, nonce: str) -> RatingTask | None:
        """The task at hand, where a press can have been meant for it."""
        if not self._is_at_hand(nonce) or not isinstance(self.task, RatingTask):
            return None
        if not self.marks and time.monotonic() - self.served_at < UNREAD_SECONDS:
            self.notice = TOO_SOON
            return None
        self.notice = ""
        return self.task

    def _cast(self, action: Action, **said: Any) -> bool:
        """Store an action (`said`: the fields of `Cast`) by the one door; the next task is then asked of the store."""
        task, self.task, self.notice = self.task, None, ""
        slot = task.slot if isinstance(task, RatingTask) and action != "undo" else None
        cast = Cast(key=f"{self.nonce}.{action}", action=action, slot=slot, **said)
        try:
            receipt = cast_rating(self.engine, self.token, cast)
        except UnavailableError:
            self.task, self.notice = task, NOT_SAVED  # the same key again: it counts once, whatever reached the store
            return False
        except RatingRefused as err:
            self.notice = _REFUSED.get(type(err), "")  # a link that leads nowhere any more has a page of its own
            return False
        if receipt.is_right is not None:
            self.notice = RIGHT if receipt.is_right else NOT_RIGHT
        return True
