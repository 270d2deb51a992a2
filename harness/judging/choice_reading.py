"""Reading a choice among a closed set of answers: what every judge that asks a question is built on.

A reader puts questions to a model and gives, for each, a distribution over the answers that were offered, or the
status of a score that is missing. It is two of a judge's four steps (render → **call → parse** → aggregate). How it
reads is its mode: `exact` here, `logprobs` and `sampled` in `harness.judging.remote_reading`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

from harness.errors import InputError
from harness.judging.reasoned import MAX_TOKENS, reason_in
from harness.models.endpoint.calls import ChatCall
from harness.models.protocol import LanguageModel, OnProgress, OptionProbabilities, OptionRequest, ReplyRequest
from harness.types import Decoding, ScoreStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of one question: a distribution over the answers offered, or why there is none."""

    answer: OptionProbabilities | None
    status: ScoreStatus = "ok"  # "ok" exactly when there is an answer
    reason: str = ""
    explanation: str = ""  # why the model scores so, in its own words


@runtime_checkable
class OptionReader(Protocol):
    """Whatever can be asked to choose among a closed set of answers."""

    @property
    def mode(self) -> str:
        """exact | logprobs | sampled, after `explain/` or `rate-explain/` where a reason comes too: on every score."""

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """What the requests ask an endpoint; nothing of a model in this process."""

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """One reading per request, in their order; a request at fault spoils no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalReader:
    """Reads a local model: the softmax over the answers' tokens at the position where the model must go on.

    One that `explains` writes its own reason first, greedily, and the position lies behind it.
    """

    model: LanguageModel
    explains: bool = False

    @property
    def mode(self) -> str:
        """See `OptionReader.mode`."""
        return "explain/exact" if self.explains else "exact"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """See `OptionReader.calls`."""
        return []

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        reasons = self._reasons(requests, on_progress) if self.explains else [""] * len(requests)
        asked = [behind(request, reason) for request, reason in zip(requests, reasons, strict=True)]
        outcomes = call_isolating(lambda some: self.model.option_probabilities(some, on_progress=on_progress), asked)
        return [
            replace(parse(outcome, request), explanation=reason)
            for outcome, request, reason in zip(outcomes, asked, reasons, strict=True)
        ]

    def _reasons(self, requests: Sequence[OptionRequest], on_progress: OnProgress | None) -> list[str]:
        decoding = Decoding(max_new_tokens=MAX_TOKENS // 2, temperature=0, top_p=1)
        asked = [ReplyRequest(key=r.key, messages=r.messages, adapter=r.adapter) for r in requests]
        said = call_isolating(lambda some: self.model.generate(some, decoding=decoding, on_progress=on_progress), asked)
        return [
            "" if one.answer is None else reason_in(one.answer.text, r.options, prefix=r.prefix)
            for one, r in zip(said, requests, strict=True)
        ]


def behind(request: OptionRequest, reason: str) -> OptionRequest:
    """The same question, answered behind a reason that stands already."""
    return replace(request, prefix=f"{reason}\n{request.prefix}") if reason else request


def parse(outcome: Outcome[OptionProbabilities], request: OptionRequest) -> Reading:
    """The distribution over the answers offered; missing when it is not one, e.g. holds NaN or other answers."""
    if outcome.answer is None:
        return missing("failed", outcome.error)
    if not is_sound(outcome.answer, request):
        return missing("unparsable", "the model's probabilities are not those of the answers offered")
    return Reading(answer=outcome.answer)


def missing(status: ScoreStatus, reason: str) -> Reading:
    """No answer, and why."""
    return Reading(answer=None, status=status, reason=reason)


def is_sound(answer: OptionProbabilities, request: OptionRequest) -> bool:
    """Whether an answer is a distribution over exactly the options that were asked for."""
    p = answer.probabilities
    return (
        answer.options == request.options
        and len(p) == len(answer.options)
        and all(math.isfinite(x) and 0 <= x <= 1 for x in (*p, answer.mass))
        and math.isclose(math.fsum(p), 1.0, abs_tol=1e-4)
    )


Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Answer]):
    """What became of one request: an answer, or why there is none."""

    answer: Answer | None
    error: str = ""


def call_isolating(
    call: Callable[[Sequence[Request]], Sequence[Answer]], requests: Sequence[Request]
) -> list[Outcome[Answer]]:
    """Outcomes in the order of the requests.

    Only InputError, "this request cannot be used", is taken apart and recorded. Anything else (no memory, no model)
    concerns the machine and not the item, and is raised: recording it would make every score of the run missing.
    """
    if not requests:
        return []
    try:
        return [Outcome(answer=answer) for answer in call(requests)]
    except InputError as err:
        if len(requests) == 1:
            return [Outcome(answer=None, error=str(err))]
    middle = len(requests) // 2
    return [*call_isolating(call, requests[:middle]), *call_isolating(call, requests[middle:])]
