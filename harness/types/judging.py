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


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One quality that a judge scores."""

    name: str
    definition: str
    steps: tuple[str, ...]  # evaluation steps, written once and frozen
    scale: tuple[int, int] = (1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedItem:
    """A reply in its context, as a judge sees it: no variant name, no reference."""

    id: str  # unique among the items of one call
    messages: tuple[Message, ...]
    reply: str
    cluster: str
    is_truncated: bool = False  # finish_reason was "length"
    missing: ScoreStatus | None = None  # why there is no reply; None where there is one
    criteria: tuple[str, ...] = ()  # score these of the judge's criteria only; empty is all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A judge's value for one reply and criterion, or the recorded reason why there is none."""

    item_id: str
    criterion: str
    judge_id: str
    value: float | None  # None is missing: never 0, never the middle
    status: ScoreStatus
    probabilities: tuple[float, ...] | None = None  # closed set, in scale order, sums to 1
    mass: float | None = None  # probability captured by the closed set
    entropy: float | None = None  # of `probabilities`, nats: 0 is certain
    total: float | None = None  # likelihood: the sum that `value` is the mean of
    n_tokens: int | None = None  # likelihood: reply tokens
    mode: str = ""  # exact | logprobs | sampled | likelihood
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.status == "ok"):
            raise ValueError(
                f"`status` must be ok exactly when `value` is there, got {self.status!r} with {self.value!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """Two replies in one context, as a pairwise judge sees them: no variant names, no reference."""

    id: str  # unique among the pairs of one call
    messages: tuple[Message, ...]
    first: str
    second: str
    cluster: str
    is_first_truncated: bool = False  # finish_reason was "length"
    is_second_truncated: bool = False
    missing: ScoreStatus | None = None  # why one of the replies is not there; None where both are
    criteria: tuple[str, ...] = ()  # compare on these of the judge's criteria only; empty is all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A judge's verdict on a pair shown in one order, or the recorded reason why there is none."""

    pair_id: str
    criterion: str
    judge_id: str
    shown_first: Place  # which reply of the pair stood where a reader begins
    preferred: PreferredReply | None  # None is missing: never a tie
    status: ScoreStatus
    probabilities: tuple[float, float, float] | None = None  # of first, second and tie; sums to 1
    mass: float | None = None  # probability captured by the three verdicts
    entropy: float | None = None  # of `probabilities`, nats
    mode: str = ""  # exact | logprobs | sampled
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.preferred is None) == (self.status == "ok"):
            raise ValueError(
                f"`status` must be ok exactly when `preferred` is there, got {self.status!r} with {self.preferred!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A human's verdict on a comparison, or Likert marks. Append-only: a correction is a new rating."""

    comparison_id: str
    rater: str
    verdict: VoteVerdict | None
    marks: Mapping[str, int] = field(default_factory=dict)
    is_rehearsal: bool = False
