"""A model behind an endpoint as deepeval's: asked through our client, weighted where it wrote the score.

What a metric asks first of every item is known before any of it is sent, so all first calls go out together, paced and
charged as any other judge's; for GEval and its kin, whose steps are given, there are no others. What a metric asks next
depends on the answers and is asked one at a time.

Import this module through `harness.judging.deepeval.quiet`, never first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from openai.types.chat import ChatCompletionTokenLogprob
from openai.types.chat.chat_completion_token_logprob import TopLogprob

from harness.doors.answers import listed_tokens, read_answer, token_positions
from harness.errors import InputError
from harness.judging.deepeval.model import DIGITS, Bridge, WrittenScore, score_place
from harness.judging.remote_reading import ask, distribution, option_weights
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import OnProgress, OptionProbabilities


class NotSentError(InputError):
    """A call that is only noted; it ends the metric that made it."""


class BridgedEndpoint(Bridge):
    """A model behind an endpoint and deepeval's interface."""

    def __init__(
        self,
        queue: RequestQueue,
        *,
        model: str,
        max_new_tokens: int,
        gives_probabilities: bool,
        most_logprobs: int = 20,
    ) -> None:
        """`model` is its name at the endpoint; `gives_probabilities` is the judge's mode, and never tried out here."""
        self.gives_probabilities = gives_probabilities
        self._queue = queue
        self._model = model
        self._most_logprobs = most_logprobs
        self._max_new_tokens = max_new_tokens
        self._noted: list[ChatCall] | None = None
        self._fetched: dict[str, ChatResult] = {}
        super().__init__(model)

    @contextlib.contextmanager
    def noting(self) -> Iterator[list[ChatCall]]:
        """Calls made inside are noted and not sent: each ends its metric with `NotSentError`."""
        self._noted = []
        try:
            yield self._noted
        finally:
            self._noted = None

    def fetch(self, calls: Sequence[ChatCall], on_progress: OnProgress | None) -> None:
        """Ask many things together; the metrics that ask them next are told without asking."""
        results = ask(self._queue, calls, on_progress)
        self._fetched = {self._key(call): result for call, result in zip(calls, results, strict=True)}

    def write(self, prompt: str) -> WrittenScore:
        """See `Bridge.write`."""
        return self._written(self._ask(self._call(prompt)))

    def weigh(self, prompt: str, top_logprobs: int) -> WrittenScore:
        """See `Bridge.weigh`: the digits among the likeliest tokens at the last place that holds the score."""
        answer = self._ask(self._call(prompt, logprobs=True, top_logprobs=min(top_logprobs, self._most_logprobs)))
        written = self._written(answer)
        found = score_place(written.text)
        position = None if found is None else _position_of(found[1], answer)
        digits = None if position is None else _digits(position)
        if position is None or digits is None:
            return written
        return replace(written, digits=digits, token=_token(position))

    def _call(self, prompt: str, **more: Any) -> ChatCall:
        said = [{"role": "user", "content": prompt}]
        body = {"model": self._model, "messages": said, "max_tokens": self._max_new_tokens, "temperature": 0}
        return ChatCall(body=body | more)

    def _key(self, call: ChatCall) -> str:
        return call.key(self._queue.client.url)

    def _ask(self, call: ChatCall) -> Mapping[str, Any]:
        if self._noted is not None:
            self._noted.append(call)
            raise NotSentError("`prompt` is noted and not sent")
        result = self._fetched.get(self._key(call)) or self._queue.ask([call])[0]
        if result.answer is None:
            raise InputError(result.error)
        said = read_answer(result.answer)
        if said.status != "ok":
            self.last = WrittenScore(text="", is_cut=False, is_refused=said.status == "refused")
            raise InputError(said.reason)
        return result.answer

    @staticmethod
    def _written(answer: Mapping[str, Any]) -> WrittenScore:
        said = read_answer(answer)
        return WrittenScore(text=said.text, is_cut=said.finish == "length")


def _position_of(digit: str, answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The last position whose token is the digit, as deepeval looks for it."""
    told = [p for p in token_positions(answer) or [] if isinstance(p, dict)]
    return next((p for p in reversed(told) if p.get("token") == digit), None)


def _digits(position: Mapping[str, Any]) -> OptionProbabilities | None:
    """The distribution over the digits at a position; None where the endpoint's numbers are none."""
    weights = option_weights(position, DIGITS)
    if weights is None or sum(weights) <= 0:
        return None
    return distribution(DIGITS, weights, key="score", mass=min(1.0, sum(weights)))


def _token(position: Mapping[str, Any]) -> ChatCompletionTokenLogprob:
    """A position that `_digits` has found sound, as deepeval reads it; what was drawn is among the likeliest."""
    return ChatCompletionTokenLogprob(
        token=position["token"],
        logprob=position["logprob"],
        top_logprobs=[TopLogprob(token=t["token"], logprob=t["logprob"]) for t in listed_tokens(position) or []],
    )
