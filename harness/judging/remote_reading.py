"""Reading a choice through an endpoint: from its most likely tokens, or from repeated draws.

`logprobs`: the endpoint gives the k most likely tokens at each position. At the position of the score, the probability
of the answers offered among them is the mass, and what they share of it is the distribution; what lies outside the k
stays outside. G-Eval, eq. 1 (Liu et al. 2023, arXiv 2303.16634), without the sampling that the paper needed.

`sampled`: n draws, each of which must be one of the answers and nothing else, as in the paper. Deviation: a draw that
is not one is counted against the mass, where the paper's code counts it as a score of 0.

Nothing is searched for in prose: an answer is a token, or the whole of a short text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.judging.protocol import OnProgress
from harness.judging.reading import Reading
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.desk import Desk
from harness.models.metering import Meter
from harness.models.protocol import OptionProbabilities, OptionRequest
from harness.seeding import derive
from harness.types import JsonObject, ScoreStatus

MAX_TOKENS = 8  # room for the prefix, should the model repeat it, and one token of score
REVISION = 1  # raise when a change of this file changes scores; part of the judge's id


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobsReader:
    """Reads the k most likely tokens at the position of the score."""

    desk: Desk
    model: str  # its name at the endpoint
    top_logprobs: int
    mode: str = "logprobs"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """Step 2a: what is sent, one call per request."""
        return [logprobs_call(r, model=self.model, top_logprobs=self.top_logprobs) for r in requests]

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        results = _ask(self.desk, self.calls(requests), on_progress)
        return [parse_logprobs(result, request) for result, request in zip(results, requests, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledReader:
    """Reads repeated draws."""

    desk: Desk
    model: str
    n_draws: int
    temperature: float
    mode: str = "sampled"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """What is sent: all draws of the first request, then those of the second."""
        return [
            sampled_call(r, model=self.model, temperature=self.temperature, draw=draw)
            for r in requests
            for draw in range(self.n_draws)
        ]

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        results = _ask(self.desk, self.calls(requests), on_progress)
        n = self.n_draws
        return [parse_draws(results[i * n : (i + 1) * n], request) for i, request in enumerate(requests)]


def logprobs_call(request: OptionRequest, *, model: str, top_logprobs: int) -> ChatCall:
    """One greedy answer with the most likely tokens of each position."""
    body = _body(request, model) | {"temperature": 0, "logprobs": True, "top_logprobs": top_logprobs}
    return ChatCall(body=body)


def sampled_call(request: OptionRequest, *, model: str, temperature: float, draw: int) -> ChatCall:
    """One draw, with a seed that the endpoint may or may not honour."""
    text = "\n".join(str(message["content"]) for message in request.messages)
    seed = derive(0, "draw", text, draw) % 2**31
    return ChatCall(body=_body(request, model) | {"temperature": temperature, "seed": seed}, draw=draw)


def gives_logprobs(desk: Desk, *, model: str, top_logprobs: int) -> bool:
    """Ask the endpoint once whether it gives log-probabilities; the answer is kept as any other.

    Raises:
        UnavailableError: it gave no answer at all, which says neither yes nor no.
    """
    request = OptionRequest(
        key="start-up",
        messages=[{"role": "user", "content": "Answer with one digit and nothing else: how many are two and two?"}],
        prefix="",
        options=tuple("0123456789"),
    )
    (result,) = desk.ask([logprobs_call(request, model=model, top_logprobs=top_logprobs)])
    if result.answer is None and not result.error.startswith("status 4"):
        raise desk.client.unavailable(f"it was asked for log-probabilities and failed: {result.error}")
    return parse_logprobs(result, request).status not in ("failed", "unsupported", "refused")


def parse_logprobs(result: ChatResult, request: OptionRequest) -> Reading:
    """Step 3 of `logprobs`: the distribution at the position of the score, or the status of a missing one."""
    if result.answer is None:
        return _missing("failed", result.error)
    if is_refused(result.answer):
        return _missing("refused", "the model refused to answer")
    choice = result.answer["choices"][0]
    logprobs = choice.get("logprobs")
    positions = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(positions, list):
        return _missing("unsupported", "the endpoint gave no log-probabilities; set `mode: sampled` for it")
    position = score_position(positions, request.prefix)
    if position is None:
        status: ScoreStatus = "truncated" if choice.get("finish_reason") == "length" else "unparsable"
        return _missing(status, "the model's answer ended before a score")
    weights = option_weights(position, request.options)
    if weights is None:
        return _missing("unparsable", "the endpoint's log-probabilities are not numbers of tokens")
    mass = math.fsum(weights)
    if mass <= 0:
        return _missing("low_mass", "none of the answers offered is among the most likely tokens")
    return Reading(answer=distribution(request.options, weights, key=request.key, mass=min(1.0, mass)))


def parse_draws(results: Sequence[ChatResult], request: OptionRequest) -> Reading:
    """Step 3 of `sampled`: shares of the draws, unreadable ones counted against the mass.

    A draw that never came is no answer of the model's: then the score is missing, since fewer draws than declared
    would be another judge.
    """
    failed = next((r for r in results if r.answer is None), None)
    if failed is not None:
        return _missing("failed", failed.error)
    answers = [r.answer for r in results if r.answer is not None]
    drawn = [parse_draw(answer, request) for answer in answers]
    counts = [float(drawn.count(option)) for option in request.options]
    n_read = math.fsum(counts)
    if n_read == 0:
        is_refusal = all(is_refused(answer) for answer in answers)
        if is_refusal:
            return _missing("refused", "the model refused to answer")
        return _missing("unparsable", f"none of {len(drawn)} draws was one of the answers offered")
    return Reading(answer=distribution(request.options, counts, key=request.key, mass=n_read / len(drawn)))


def parse_draw(answer: JsonObject, request: OptionRequest) -> str | None:
    """The option that an answer is, exactly, after the prefix is taken off; None for anything else."""
    choice = answer["choices"][0]
    text = choice["message"].get("content")
    if is_refused(answer) or choice.get("finish_reason") == "length" or not isinstance(text, str):
        return None  # what was cut off might have gone on
    text = text.strip().removeprefix(request.prefix.strip()).strip()
    return text if text in request.options else None


def is_refused(answer: JsonObject) -> bool:
    """Whether the endpoint says, in a field made for it, that there is no answer."""
    choice = answer["choices"][0]
    return choice.get("finish_reason") == "content_filter" or bool(choice["message"].get("refusal"))


def score_position(positions: Sequence[Any], prefix: str) -> Mapping[str, Any] | None:
    """The first position at which the answer is more than white space and a repeated prefix; None: there is none."""
    said, form = "", prefix.strip()
    for position in positions:
        token = position.get("token") if isinstance(position, dict) else None
        if not isinstance(token, str):
            return None
        if not form.startswith((said + token).strip()):
            is_whole = said.strip() in ("", form)  # a prefix broken off is neither silence nor the prefix
            return dict(position) if is_whole else None
        said += token
    return None


def option_weights(position: Mapping[str, Any], options: Sequence[str]) -> list[float] | None:
    """Probability of each option at a position, over the ways to write it; None where the numbers are none."""
    listed = position.get("top_logprobs")
    tokens = [t for t in (listed if isinstance(listed, list) else []) if isinstance(t, dict)]
    if position.get("token") not in [t.get("token") for t in tokens]:
        tokens.append(dict(position))  # some servers leave out the token that was drawn
    weights = dict.fromkeys(options, 0.0)
    for entry in tokens:
        token, logprob = entry.get("token"), entry.get("logprob")
        if not isinstance(token, str) or not isinstance(logprob, int | float) or not logprob <= 1e-3:  # NaN is not
            return None
        if token.strip() in weights:
            weights[token.strip()] += math.exp(min(0.0, logprob))
    return list(weights.values())


def _body(request: OptionRequest, model: str) -> dict[str, Any]:
    messages = [dict(message) for message in request.messages]
    return {"model": model, "messages": messages, "max_tokens": MAX_TOKENS}


def _ask(desk: Desk, calls: Sequence[ChatCall], on_progress: OnProgress | None) -> list[ChatResult]:
    meter = Meter(len(calls), "calls", on_progress)
    return desk.ask(calls, on_done=lambda place, result: meter.advance(1, result.n_output or 0))


def distribution(options: Sequence[str], weights: Sequence[float], *, key: str, mass: float) -> OptionProbabilities:
    """Weights, of which not all are 0, made to sum to 1."""
    total = math.fsum(weights)
    p = tuple(weight / total for weight in weights)
    entropy = -math.fsum(x * math.log(x) for x in p if x > 0)
    return OptionProbabilities(key=key, options=tuple(options), probabilities=p, mass=mass, entropy=max(0.0, entropy))


def _missing(status: ScoreStatus, reason: str) -> Reading:
    return Reading(answer=None, status=status, reason=reason)
