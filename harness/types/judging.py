"""What judges and people are shown, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.types.dialogue import Message
from harness.types.models import ScoreStatus

Place = Literal["first", "second"]  # of a reply in a pair
PreferredReply = Literal["first", "second", "tie"]
VoteVerdict = Literal["left", "right", "tie", "both_bad"]

_PREFERRED: Mapping[float, PreferredReply] = {1.0: "first", 0.5: "tie", 0.0: "second"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One quality that a judge scores."""

    name: str
    definition: str
    steps: tuple[str, ...]  # evaluation steps, written once and frozen
    scale: tuple[int, int] = (1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedItem:
    """A reply in its context, alone or against an opponent, as a judge sees it: no variant name, no reference."""

    id: str  # unique among the items of one call
    messages: tuple[Message, ...]
    reply: str
    cluster: str
    is_truncated: bool = False  # finish_reason was "length"
    missing: ScoreStatus | None = None  # why there is no reply, or no opponent; None where they are there
    criteria: tuple[str, ...] = ()  # score these of the judge's criteria only; empty is all of them
    opponent: str | None = None  # the reply that a pairwise judge compares it with
    is_opponent_truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A judge's value for one reply and criterion, or the recorded reason why there is none.

    Of a pair shown in one order it is the verdict: 1, ½ for a tie or 0, the reply's share of the win.
    """

    item_id: str
    criterion: str
    judge_id: str
    value: float | None  # None is missing: never 0, never the middle
    status: ScoreStatus
    probabilities: tuple[float, ...] | None = None  # closed set in scale order, or win, loss and tie; sums to 1
    mass: float | None = None  # probability captured by the closed set
    entropy: float | None = None  # of `probabilities`, nats: 0 is certain
    total: float | None = None  # likelihood: the sum that `value` is the mean of
    n_tokens: int | None = None  # likelihood: reply tokens
    mode: str = ""  # exact | logprobs | sampled | likelihood
    reason: str = ""
    shown_first: Place | None = None  # of a pair: whether the reply stood where a reader begins, or its opponent

    def __post_init__(self) -> None:
        if (self.value is None) == (self.status == "ok"):
            raise ValueError(
                f"`status` must be ok exactly when `value` is there, got {self.status!r} with {self.value!r}"
            )

    @property
    def preferred(self) -> PreferredReply | None:
        """Of a pair, the better reply, where the item's own is the first; None is missing, never a tie."""
        return None if self.value is None else _PREFERRED[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A human's verdict on a comparison, or Likert marks. Append-only: a correction is a new rating."""

    comparison_id: str
    rater: str
    verdict: VoteVerdict | None
    marks: Mapping[str, float] = field(default_factory=dict)  # criterion -> mark
    is_rehearsal: bool = False
