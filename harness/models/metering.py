"""Progress with a rate, and what a model was asked in all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.models.protocol import OnProgress, OnReply, Reply, ReplyRequest
from harness.types import Progress


@dataclass(slots=True, kw_only=True)
class Usage:
    """What was asked of models so far, in tokens as their tokenizer or their server counts them."""

    n_calls: int = 0  # replies, probabilities or HTTP calls that were answered
    n_input: int = 0  # tokens read; a beginning that several calls share counts for each
    n_output: int = 0  # tokens generated
    n_uncounted: int = 0  # calls whose tokens nobody counted
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)  # servers answer at once

    def add(self, *, n_input: int | None, n_output: int | None) -> None:
        """One call that was answered; None where its tokens are unknown."""
        with self._lock:
            self.n_calls += 1
            if n_input is None or n_output is None:
                self.n_uncounted += 1
            else:
                self.n_input += n_input
                self.n_output += n_output

    def plus(self, other: Usage, *, sign: int = 1) -> Usage:
        """The sum of both, or with sign -1 what came since `other`."""
        return Usage(
            n_calls=self.n_calls + sign * other.n_calls,
            n_input=self.n_input + sign * other.n_input,
            n_output=self.n_output + sign * other.n_output,
            n_uncounted=self.n_uncounted + sign * other.n_uncounted,
        )


class Meter:
    """Counts units and tokens and tells whoever wants to know."""

    def __init__(self, total: float, unit: str, on_progress: OnProgress | None) -> None:
        """`total` and `unit` as in `Progress`; without a listener nothing is computed."""
        self._total = total
        self._unit = unit
        self._on_progress = on_progress
        self._started = time.perf_counter()
        self._done = 0.0
        self._n_tokens = 0

    def advance(self, done: float, n_tokens: int) -> None:
        """Report that `done` more units and `n_tokens` more tokens are complete."""
        self._done += done
        self._n_tokens += n_tokens
        if self._on_progress is not None:
            rate = self._n_tokens / max(time.perf_counter() - self._started, 1e-9)
            self._on_progress(
                Progress(done=self._done, total=self._total, unit=self._unit, note=f"{rate:,.0f} tokens/s")
            )


def answered_in_turn(
    requests: Sequence[ReplyRequest],
    answer: Callable[[ReplyRequest], Reply],
    *,
    on_reply: OnReply | None,
    on_progress: OnProgress | None,
) -> list[Reply]:
    """The replies of a model that is asked for one after another."""
    meter = Meter(len(requests), "replies", on_progress)
    replies = []
    for request in requests:
        replies.append(reply := answer(request))
        if on_reply is not None:
            on_reply(reply)
        meter.advance(1, reply.n_tokens or 0)
    return replies
