"""Reading a choice through an endpoint: from its most likely tokens, or from repeated draws.

`logprobs`: the endpoint gives the k most likely tokens at each position. At the position of the score, the probability
of the answers offered among them is the mass, and what they share of it is the distribution; what lies outside the k
stays outside. G-Eval, eq. 1 (Liu et al. 2023, arXiv 2303.16634), without the sampling that the paper needed.

`sampled`: n draws, each of which must be one of the answers and nothing else, as in the paper. Deviation: a draw that
is not one is counted against the mass, where the paper's code counts it as a score of 0.

Where the server takes a turn that is begun (prefill), the score's position is forced as it is on a local model.

Nothing is searched for in prose: an answer is a token, the whole of a short text, or a line or field of its own beside
a reason (`harness.judging.reasoned`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.doors.answers import (
    Said,
    listed_tokens,
    may_think,
    part_thinking,
    read_answer,
    reply_start,
    token_positions,
)
from harness.judging import reasoned
from harness.judging.choice_reading import Reading, behind, missing
from harness.judging.reasoned import AnswerForm, SaidScore
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.parameters import Prefill, begun
from harness.models.endpoint.queue import RequestQueue
from harness.models.metering import Meter
from harness.models.protocol import OnProgress, OptionProbabilities, OptionRequest
from harness.seeding import derive
from harness.types import ScoreStatus

MAX_TOKENS = 8  # room for the prefix, should the model repeat it, and one token of score
REVISION = 1  # raise when a change of this file changes scores; part of the judge's id


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReader:
    """Reads an endpoint: the likeliest tokens of one greedy answer, or repeated draws; after a reason, or without."""

    queue: RequestQueue
    model: str  # its name at the endpoint
    top_logprobs: int = 0  # how many it is asked for; 0: draws
    n_draws: int = 1
    temperature: float = 1.0  # of draws
    answer: AnswerForm = "score"
    is_typed: bool = False  # whether reason and score are fields of an object
    prefill: Prefill | None = None  # how the assistant's turn is begun for it; None: it is left to the model
    without: tuple[str, ...] = ()  # fields that the server refuses

    @property
    def mode(self) -> str:
        """What is asked for, and how the score is read."""
        how = "logprobs" if self.top_logprobs else "sampled"
        return how if self.answer == "score" else f"{self.answer}/{how}"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """Step 2a: what is sent first. One call a request, or all draws of the first, then those of the second."""
        return [call for request in requests for call in self._calls(request)]

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        results = ask(self.queue, self.calls(requests), on_progress)
        if self.answer == "explain" and self.top_logprobs and self.prefill is not None:
            return self._forced(results, requests, on_progress)
        n = 1 if self.top_logprobs else self.n_draws
        return [self._parse(results[i * n : (i + 1) * n], request) for i, request in enumerate(requests)]

    @property
    def _greedy(self) -> dict[str, Any]:
        """One greedy answer with the most likely tokens of each position."""
        return {"temperature": 0, "logprobs": True, "top_logprobs": self.top_logprobs}

    def _calls(self, request: OptionRequest) -> list[ChatCall]:
        more: dict[str, Any] = {} if self.answer == "score" else {"max_tokens": reasoned.MAX_TOKENS}
        if self.is_typed:
            more["response_format"] = reasoned.schema_of(request.options, form=self.answer)
        is_first = self.answer != "explain" and not self.is_typed
        if self.top_logprobs:
            return [self._call(request, self._greedy | more, is_first=is_first)]
        text = "\n".join(str(message["content"]) for message in request.messages)
        seeds = [derive(0, "draw", text, draw) % 2**31 for draw in range(self.n_draws)]  # that it may or may not honour
        return [
            self._call(request, {"temperature": self.temperature, "seed": seed} | more, is_first=is_first, draw=draw)
            for draw, seed in enumerate(seeds)
        ]

    def _call(
        self, request: OptionRequest, asked: Mapping[str, Any], *, is_first: bool = True, draw: int = 0
    ) -> ChatCall:
        """One call; where the score comes first in its answer, the turn is begun for it."""
        messages = [dict(message) for message in request.messages]
        body = {"model": self.model, "messages": messages, "max_tokens": MAX_TOKENS, **asked}
        if is_first and self.prefill is not None:
            # Without its last space, which templates strip and most vocabularies put before the next word.
            body |= begun(messages, request.prefix.rstrip(), self.prefill)
        return ChatCall(body={key: value for key, value in body.items() if key not in self.without}, draw=draw)

    def _parse(self, results: Sequence[ChatResult], request: OptionRequest) -> Reading:
        if not self.top_logprobs:
            return parse_draws(results, request, form=self.answer, is_typed=self.is_typed)
        if self.answer == "score":
            return parse_logprobs(results[0], request)
        return parse_reasoned(results[0], request, form=self.answer, is_typed=self.is_typed)

    def _forced(
        self, results: Sequence[ChatResult], requests: Sequence[OptionRequest], on_progress: OnProgress | None
    ) -> list[Reading]:
        """A second call each, begun with the reason: the score is the next token."""
        reasons = [_reason(result, request) for result, request in zip(results, requests, strict=True)]
        both = list(zip(reasons, requests, strict=True))
        calls = [self._call(behind(r, why), self._greedy) for why, r in both if isinstance(why, str)]
        scored = iter(ask(self.queue, calls, on_progress))
        return [
            replace(parse_logprobs(next(scored), request), explanation=why) if isinstance(why, str) else why
            for why, request in both
        ]


def ask(queue: RequestQueue, calls: Sequence[ChatCall], on_progress: OnProgress | None) -> list[ChatResult]:
    """Send calls through a queue, counted."""
    meter = Meter(len(calls), "calls", on_progress)
    return queue.ask(calls, on_done=lambda place, result: meter.advance(1, result.n_output or 0))


def parse_logprobs(result: ChatResult, request: OptionRequest) -> Reading:
    """Step 3 of `logprobs`: the distribution at the position of the score, or the status of a missing one."""
    if result.answer is None:
        return missing("failed", result.error)
    said = read_answer(result.answer)
    if said.status == "refused":
        return missing("refused", said.reason)
    positions = token_positions(result.answer)
    if positions is None:
        if said.status == "failed":
            return missing("failed", said.reason)
        return missing("unsupported", "the endpoint gave no log-probabilities; set `mode: sampled` for it")
    position = score_position(positions, request.prefix)
    if position is None:
        status: ScoreStatus = "truncated" if said.finish == "length" else "unparsable"
        return missing(status, f"the model's answer ended {'in its thinking, ' if said.thinking else ''}before a score")
    weights = option_weights(position, request.options)
    if weights is None:
        return missing("unparsable", "the endpoint's log-probabilities are not numbers of tokens")
    mass = math.fsum(weights)
    if mass <= 0:
        return missing("low_mass", "none of the answers offered is among the most likely tokens")
    return Reading(answer=distribution(request.options, weights, key=request.key, mass=min(1.0, mass)))


def parse_reasoned(result: ChatResult, request: OptionRequest, *, form: AnswerForm, is_typed: bool) -> Reading:
    """The distribution at the score's own position in an answer with a reason, or the status of a missing one."""
    said = _said(result)
    if isinstance(said, Reading):
        return said
    positions = token_positions(result.answer)
    if positions is None:
        return missing("unsupported", "the endpoint gave no log-probabilities; set `reads: sampled` for it")
    tokens = [position.get("token") if isinstance(position, dict) else None for position in positions]
    if not all(isinstance(token, str) for token in tokens):
        return missing("unparsable", "the endpoint's log-probabilities are not numbers of tokens")
    raw = "".join(str(token) for token in tokens)
    left = reply_start(raw)
    found = reasoned.read_said(raw[left:], request.options, form=form, is_typed=is_typed)
    if found is None or found.at < 0:
        cut = said.finish == "length" and form == "explain"
        return missing(
            "truncated" if cut else "unparsable", "the model's answer holds no line or field that is the score"
        )
    at, place = left + found.at, 0
    while at >= len(str(tokens[place])):
        at -= len(str(tokens[place]))
        place += 1
    weights = option_weights(positions[place], request.options, beside=' "}*.')
    if weights is None or math.fsum(weights) <= 0:
        return missing("unparsable", "the score is no token of its own in the endpoint's answer")
    answer = distribution(request.options, weights, key=request.key, mass=min(1.0, math.fsum(weights)))
    return Reading(answer=answer, explanation=found.reason[: reasoned.MAX_REASON])


def parse_draws(
    results: Sequence[ChatResult], request: OptionRequest, *, form: AnswerForm = "score", is_typed: bool = False
) -> Reading:
    """Step 3 of `sampled`: shares of the draws, unreadable ones counted against the mass; the first reason given.

    A draw that never came is no answer of the model's: then the score is missing, since fewer draws than declared
    would be another judge.
    """
    failed = next((r for r in results if r.answer is None), None)
    if failed is not None:
        return missing("failed", failed.error)
    said = [read_answer(r.answer) for r in results]
    read = [found for one in said if (found := read_draw(one, request, form=form, is_typed=is_typed)) is not None]
    if not read:
        if said[0].status != "ok" and len({one.status for one in said}) == 1:
            return missing(said[0].status, said[0].reason)
        what = "was one of the answers offered" if form == "score" else "held a line or field that is the score"
        return missing("unparsable", f"none of {len(said)} draws {what}")
    counts = [float(sum(one.score == option for one in read)) for option in request.options]
    answer = distribution(request.options, counts, key=request.key, mass=len(read) / len(said))
    return Reading(answer=answer, explanation=read[0].reason[: reasoned.MAX_REASON])


def read_draw(said: Said, request: OptionRequest, *, form: AnswerForm, is_typed: bool) -> SaidScore | None:
    """The option that a draw chose, and its reason; None for what is not of the form.

    Without a reason it is the whole answer, exactly, after the prefix is taken off.
    """
    if said.status != "ok" or (said.finish == "length" and form != "rate-explain"):
        return None  # what was cut off might have gone on
    if form != "score":
        return reasoned.read_said(said.text, request.options, form=form, is_typed=is_typed)
    text = said.text.removeprefix(request.prefix.strip()).strip()
    return SaidScore(score=text, reason="", at=-1) if text in request.options else None


def _said(result: ChatResult) -> Said | Reading:
    """What a model replied; missing where it did not."""
    if result.answer is None:
        return missing("failed", result.error)
    said = read_answer(result.answer)
    return said if said.status == "ok" else missing(said.status, said.reason)


def _reason(result: ChatResult, request: OptionRequest) -> str | Reading:
    """The reason in an answer; missing where there is no answer."""
    said = _said(result)
    return said if isinstance(said, Reading) else reasoned.reason_in(said.text, request.options, prefix=request.prefix)


def score_position(positions: Sequence[Any], prefix: str) -> Mapping[str, Any] | None:
    """The first position at which the answer is more than white space and a repeated prefix; None: there is none.

    Thinking that was closed is passed over; in one that was not there is no score.
    """
    tokens = [position.get("token") if isinstance(position, dict) else None for position in positions]
    raw = "".join(token for token in tokens if isinstance(token, str))
    left = 0
    if may_think(raw) and (left := reply_start(raw)) == 0 and part_thinking(raw).thinking:
        return None
    said, form = "", prefix.strip()
    for position, token in zip(positions, tokens, strict=True):
        if not isinstance(token, str):
            return None
        if left > 0:
            left -= len(token)
            continue
        if not form.startswith((said + token).strip()):
            is_whole = said.strip() in ("", form)  # a prefix broken off is neither silence nor the prefix
            return dict(position) if is_whole else None
        said += token
    return None


def option_weights(position: Mapping[str, Any], options: Sequence[str], *, beside: str = "") -> list[float] | None:
    """Probability of each option at a position, over the ways to write it; None where the numbers are none.

    `beside` are characters that may share its token: those that close a field.
    """
    tokens = listed_tokens(position)
    if tokens is None:
        return None
    weights = dict.fromkeys(options, 0.0)
    for entry in tokens:
        if (text := entry["token"].strip().strip(beside) if beside else entry["token"].strip()) in weights:
            weights[text] += math.exp(min(0.0, entry["logprob"]))
    return list(weights.values())


def distribution(options: Sequence[str], weights: Sequence[float], *, key: str, mass: float) -> OptionProbabilities:
    """Weights, of which not all are 0, made to sum to 1."""
    total = math.fsum(weights)
    p = tuple(weight / total for weight in weights)
    entropy = -math.fsum(x * math.log(x) for x in p if x > 0)
    return OptionProbabilities(key=key, options=tuple(options), probabilities=p, mass=mass, entropy=max(0.0, entropy))
