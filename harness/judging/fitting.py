"""What of an item a judge sees: neutralised, as much of the conversation as fits, or why it cannot be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from harness.composing import compose
from harness.judging.neutralise import neutralise
from harness.types import Criterion, JudgedItem, Message, Score, ScoreStatus

CUT_OFF = "the reply was cut off at the length cap; scored as far as it goes"
NO_REPLY_WHY = {"failed": "the reply could not be generated", "refused": "the model refused to reply"}
BROKEN_OFF = "\n(The reply was cut off here at the length limit.)"  # a line of its own: graded text has no lines


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedItem:
    """An item ready to be rendered; `status` is "ok" or says why there is nothing to render."""

    id: str
    messages: tuple[Message, ...]  # neutralised
    reply: str  # neutralised
    is_truncated: bool
    criteria: tuple[Criterion, ...]  # to score it on
    opponent: str | None = None  # neutralised
    is_opponent_truncated: bool = False
    status: ScoreStatus = "ok"
    reason: str = ""


def fit(item: JudgedItem, *, criteria: Sequence[Criterion], max_bytes: int) -> FittedItem:
    """Neutralise an item and drop its oldest turns until all that is shown has at most `max_bytes` of UTF-8.

    The last turn, the reply and its opponent are never shortened: a judge must not mark as whole what it saw in part.
    Where they do not fit, the status is `truncated`; an empty reply is `empty`, one that is not there keeps its own
    status; a conversation without a turn to answer is `unsupported`.
    """
    messages = tuple(replace(m, content=neutralise(m.content), name=None) for m in item.messages)
    fitted = compose(
        FittedItem,
        item,
        messages=messages,
        reply=neutralise(item.reply),
        criteria=tuple(c for c in criteria if not item.criteria or c.name in item.criteria),
        opponent=None if item.opponent is None else neutralise(item.opponent),
    )
    replies = [fitted.reply] if fitted.opponent is None else [fitted.reply, fitted.opponent]
    if item.missing is not None:
        return replace(fitted, status=item.missing, reason=NO_REPLY_WHY[item.missing])
    if not all(replies):
        return replace(fitted, status="empty", reason="the reply has no visible text")
    if not messages or messages[-1].role != "user" or any(m.role == "system" for m in messages):
        reason = "the conversation must end with a user turn and hold no system message"
        return replace(fitted, status="unsupported", reason=reason)
    room = max_bytes - sum(map(_n_bytes, replies))
    n_kept = _n_that_fit(messages, room=room)
    if n_kept == 0:
        reason = f"reply and last turn have more than {max_bytes} bytes, which the judge would not see whole"
        return replace(fitted, status="truncated", reason=reason)
    n_dropped = len(messages) - n_kept
    reasons = [CUT_OFF] if item.is_truncated or item.is_opponent_truncated else []
    reasons += [f"the oldest {n_dropped} turns of the conversation were left out"] if n_dropped else []
    return replace(fitted, messages=messages[n_dropped:], reason="; ".join(reasons))


class Scorer(Protocol):
    """What of a judge stands on every score of it."""

    @property
    def id(self) -> str:
        """See `Judge.id`."""

    @property
    def mode(self) -> str:
        """How it reads a score."""


def score_of(
    judge: Scorer,
    item: JudgedItem | FittedItem,
    criterion: Criterion,
    value: float | None,
    status: ScoreStatus = "ok",
    reason: str = "",
    **evidence: Any,
) -> Score:
    """A judge's score, or a missing one with its status, and what it was read from."""
    return Score(
        item_id=item.id,
        criterion=criterion.name,
        judge_id=judge.id,
        value=value,
        status=status,
        mode=judge.mode,
        reason=reason,
        **evidence,
    )


def _n_that_fit(messages: Sequence[Message], *, room: int) -> int:
    n_kept = 0
    for message in reversed(messages):
        room -= _n_bytes(message.content)
        if room < 0:
            break
        n_kept += 1
    return n_kept


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8"))
