"""One bad request never spoils a call: a failing batch is halved until the requests at fault stand alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.errors import InputError

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
