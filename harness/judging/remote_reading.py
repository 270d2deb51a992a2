"""Reading a choice through an endpoint: from its most likely tokens, or from repeated draws.

`logprobs`: the endpoint gives the k most likely tokens at each position. At the position of the score, the probability
of the answers offered among them is the mass, and what they share of it is the distribution; what lies outside the k
stays outside. G-Eval, eq. 1 (Liu et al. 2023, arXiv 2303.16634), without the sampling that the paper needed.

`sampled`: n draws, each of which must be one of the answers and nothing else, as in the paper. Deviation: a draw that
is not one is counted against the mass, where the paper's code counts it as a score of 0.

Where the server takes a turn that is begun (prefill), the score's position is forced as it is on a local model.

Nothing is searched for in prose: an answer is a token, or the whole of a short text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.doors.answers import listed_tokens, may_think, part_thinking, read_answer, reply_start, token_positions
from harness.judging.choice_reading import Reading
from harness.judging.judge_protocol import OnProgress
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.parameters import Prefill, begun
from harness.models.endpoint.queue import RequestQueue
from harness.models.metering import Meter
from harness.models.protocol import OptionProbabilities, OptionRequest
from harness.seeding import derive
from harness.types import JsonObject, ScoreStatus

MAX_TOKENS = 8  # room for the prefix, should the model repeat it, and one token of score
REVISION = 1  # raise when a change of this file changes scores; part of the judge's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a server is asked so that its answer begins at the score."""

    prefill: Prefill | None = None  # how the assistant's turn is begun for it; None: it is left to the model
    without: tuple[str, ...] = ()  # fields that the server refuses

    def body(self, request: OptionRequest, model: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The whole body of a call."""
        messages = [dict(message) for message in request.messages]
        body = {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, **asked}
        if self.prefill is not None:
            # Without its last space, which templates strip and most vocabularies put before the next word.
            body |= begun(messages, request.prefix.rstrip(), self.prefill)
        return {key: value for key, value in body.items() if key not in self.without}


PLAIN = Form()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobsReader:
    """Reads the k most likely tokens at the position of the score."""

    queue: RequestQueue
    model: str  # its name at the endpoint
    top_logprobs: int
    form: Form = PLAIN
    mode: str = "logprobs"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """Step 2a: what is sent, one call per request."""
        return [logprobs_call(r, model=self.model, top_logprobs=self.top_logprobs, form=self.form) for r in requests]

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        results = ask(self.queue, self.calls(requests), on_progress)
        return [parse_logprobs(result, request) for result, request in zip(results, requests, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledReader:
    """Reads repeated draws."""

    queue: RequestQueue
    model: str
    n_draws: int
    temperature: float
    form: Form = PLAIN
    mode: str = "sampled"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """What is sent: all draws of the first request, then those of the second."""
        return [
            sampled_call(r, model=self.model, temperature=self.temperature, draw=draw, form=self.form)
            for r in requests
            for draw in range(self.n_draws)
        ]

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        results = ask(self.queue, self.calls(requests), on_progress)
        n = self.n_draws
        return [parse_draws(results[i * n : (i + 1) * n], request) for i, request in enumerate(requests)]


def logprobs_call(request: OptionRequest, *, model: str, top_logprobs: int, form: Form = PLAIN) -> ChatCall:
    """One greedy answer with the most likely tokens of each position."""
    asked = {"temperature": 0, "logprobs": True, "top_logprobs": top_logprobs}
    return ChatCall(body=form.body(request, model, asked))


def sampled_call(request: OptionRequest, *, model: str, temperature: float, draw: int, form: Form = PLAIN) -> ChatCall:
    """One draw, with a seed that the endpoint may or may not honour."""
    text = "\n".join(str(message["content"]) for message in request.messages)
    seed = derive(0, "draw", text, draw) % 2**31
    return ChatCall(body=form.body(request, model, {"temperature": temperature, "seed": seed}), draw=draw)


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


def parse_draws(results: Sequence[ChatResult], request: OptionRequest) -> Reading:
    """Step 3 of `sampled`: shares of the draws, unreadable ones counted against the mass.

    A draw that never came is no answer of the model's: then the score is missing, since fewer draws than declared
    would be another judge.
    """
    failed = next((r for r in results if r.answer is None), None)
    if failed is not None:
        return missing("failed", failed.error)
    answers = [r.answer for r in results if r.answer is not None]
    drawn = [parse_draw(answer, request) for answer in answers]
    counts = [float(drawn.count(option)) for option in request.options]
    n_read = math.fsum(counts)
    if n_read == 0:
        said = [read_answer(answer) for answer in answers]
        for status in ("refused", "failed"):
            if all(one.status == status for one in said):
                return missing(status, said[0].reason)
        return missing("unparsable", f"none of {len(drawn)} draws was one of the answers offered")
    return Reading(answer=distribution(request.options, counts, key=request.key, mass=n_read / len(drawn)))


def parse_draw(answer: JsonObject, request: OptionRequest) -> str | None:
    """The option that an answer is, exactly, after the prefix is taken off; None for anything else."""
    said = read_answer(answer)
    if said.finish == "length" or said.status != "ok":
        return None  # what was cut off might have gone on
    text = said.text.removeprefix(request.prefix.strip()).strip()
    return text if text in request.options else None


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


def ask(queue: RequestQueue, calls: Sequence[ChatCall], on_progress: OnProgress | None) -> list[ChatResult]:
    """Send calls through a queue, counted."""
    meter = Meter(len(calls), "calls", on_progress)
    return queue.ask(calls, on_done=lambda place, result: meter.advance(1, result.n_output or 0))


def distribution(options: Sequence[str], weights: Sequence[float], *, key: str, mass: float) -> OptionProbabilities:
    """Weights, of which not all are 0, made to sum to 1."""
    total = math.fsum(weights)
    p = tuple(weight / total for weight in weights)
    entropy = -math.fsum(x * math.log(x) for x in p if x > 0)
    return OptionProbabilities(key=key, options=tuple(options), probabilities=p, mass=mass, entropy=max(0.0, entropy))


def missing(status: ScoreStatus, reason: str) -> Reading:
    """No answer, and why."""
    return Reading(answer=None, status=status, reason=reason)
