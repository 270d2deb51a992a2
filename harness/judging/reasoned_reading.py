"""Readers of judges that think first: the distribution over the scores once a reason stands, and the reason.

After Chiang & Lee 2023 (arXiv 2310.05657): asked to explain, judges agree more with people. On a local model the reason
is generated and the score's position forced behind it. At an endpoint the position is forced where the server goes on
from the beginning of an answer; else it is the one of the typed field, or of the line that is only the score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.doors.answers import read_answer, reply_start, token_positions
from harness.judging.choice_reading import ExactReader, Reading, call_isolating
from harness.judging.judge_protocol import OnProgress
from harness.judging.reasoned import AnswerForm, SaidScore, read_said, schema_of
from harness.judging.remote_reading import (
    PLAIN,
    Form,
    LogprobsReader,
    ask,
    distribution,
    missing,
    option_weights,
    parse_logprobs,
    sampled_call,
)
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.parameters import Prefill, begun
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel, OptionRequest, ReplyRequest
from harness.types import Decoding

REVISION = 1  # raise when a change of this file changes scores; part of the judge's id
MAX_TOKENS = 320  # of reason and score
MAX_REASON = 2_000  # characters that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainingReader:
    """Reads a local model: its own reason, greedily, then the scores' tokens at the position behind it."""

    model: LanguageModel
    mode: str = "explain/exact"

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """See `OptionReader.calls`."""
        return []

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        decoding = Decoding(max_new_tokens=MAX_TOKENS // 2, temperature=0, top_p=1)
        asked = [ReplyRequest(key=r.key, messages=r.messages, adapter=r.adapter) for r in requests]
        said = call_isolating(lambda some: self.model.generate(some, decoding=decoding, on_progress=on_progress), asked)
        reasons = [
            "" if one.answer is None else _reason(one.answer.text, r) for one, r in zip(said, requests, strict=True)
        ]
        both = list(zip(requests, reasons, strict=True))
        forced = [replace(r, prefix=f"{why}\n{r.prefix}" if why else r.prefix) for r, why in both]
        readings = ExactReader(model=self.model).read(forced, on_progress=on_progress)
        return [replace(reading, explanation=why) for reading, why in zip(readings, reasons, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonedReader:
    """Reads an endpoint: one greedy answer with log-probabilities, or repeated draws."""

    queue: RequestQueue
    model: str
    answer: AnswerForm
    is_typed: bool
    top_logprobs: int  # 0: draws
    n_draws: int
    temperature: float
    form: Form = PLAIN

    @property
    def mode(self) -> str:
        """What is asked for, and how the score is read."""
        return f"{self.answer}/{'logprobs' if self.top_logprobs else 'sampled'}"

    @property
    def _forces(self) -> Prefill | None:
        """How a second call is begun, so that it reads the score at a forced position behind the reason."""
        return self.form.prefill if self.answer == "explain" and self.top_logprobs else None

    def calls(self, requests: Sequence[OptionRequest]) -> list[ChatCall]:
        """What is sent first: one call a request, or all draws of the first, then those of the second."""
        return [call for request in requests for call in self._calls(request)]

    def read(self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None) -> list[Reading]:
        """See `OptionReader.read`."""
        results = ask(self.queue, self.calls(requests), on_progress)
        if (prefill := self._forces) is not None:
            return self._forced(prefill, results, requests, on_progress)
        n = 1 if self.top_logprobs else self.n_draws
        parse = parse_reasoned if self.top_logprobs else parse_reasoned_draws
        return [
            parse(results[i * n : (i + 1) * n], request, answer=self.answer, is_typed=self.is_typed)
            for i, request in enumerate(requests)
        ]

    def _calls(self, request: OptionRequest) -> list[ChatCall]:
        begins = self.answer == "rate-explain" and not self.is_typed
        form = self.form if begins else replace(self.form, prefill=None)
        typed: dict[str, Any] = (
            {"response_format": schema_of(request.options, form=self.answer)} if self.is_typed else {}
        )
        more = {"max_tokens": MAX_TOKENS, **typed}
        if self.top_logprobs:
            asked = {"temperature": 0, "logprobs": True, "top_logprobs": self.top_logprobs, **more}
            return [ChatCall(body=form.body(request, self.model, asked))]
        drawn = [
            sampled_call(request, model=self.model, temperature=self.temperature, draw=draw, form=form)
            for draw in range(self.n_draws)
        ]
        return [replace(call, body={**call.body, **more}) for call in drawn]

    def _forced(
        self,
        prefill: Prefill,
        results: Sequence[ChatResult],
        requests: Sequence[OptionRequest],
        on_progress: OnProgress | None,
    ) -> list[Reading]:
        """A second call each, begun with the reason: the score is the next token."""
        plain = LogprobsReader(queue=self.queue, model=self.model, top_logprobs=self.top_logprobs,
                               form=replace(self.form, prefill=None))  # fmt: skip
        reasons, calls, readings = [], [], list[Reading | None]()
        for result, request in zip(results, requests, strict=True):
            said = None if result.answer is None else read_answer(result.answer)
            if said is None or said.status != "ok":
                failed = missing("failed", result.error) if said is None else missing(
                    "refused" if said.status == "refused" else "failed", said.reason)  # fmt: skip
                readings.append(failed)
                continue
            why = _reason(said.text, request)
            (call,) = plain.calls([request])
            beginning = f"{why}\n{request.prefix.rstrip()}" if why else request.prefix.rstrip()
            calls.append(ChatCall(body={**call.body, **begun(call.body["messages"], beginning, prefill)}))
            reasons.append((why, request))
            readings.append(None)
        scored = iter(zip(ask(self.queue, calls, on_progress), reasons, strict=True))
        found = []
        for reading in readings:
            if reading is None:
                result, (why, request) = next(scored)
                reading = replace(parse_logprobs(result, request), explanation=why)
            found.append(reading)
        return found


def parse_reasoned(
    results: Sequence[ChatResult], request: OptionRequest, *, answer: AnswerForm, is_typed: bool
) -> Reading:
    """The distribution at the score's own position in an answer, or the status of a missing one."""
    (result,) = results
    if result.answer is None:
        return missing("failed", result.error)
    said = read_answer(result.answer)
    if said.status != "ok":
        return missing("refused" if said.status == "refused" else "failed", said.reason)
    positions = token_positions(result.answer)
    if positions is None:
        return missing("unsupported", "the endpoint gave no log-probabilities; set `reads: sampled` for it")
    tokens = [position.get("token") if isinstance(position, dict) else None for position in positions]
    if not all(isinstance(token, str) for token in tokens):
        return missing("unparsable", "the endpoint's log-probabilities are not numbers of tokens")
    raw = "".join(str(token) for token in tokens)
    left = reply_start(raw)
    found = read_said(raw[left:], request.options, form=answer, is_typed=is_typed)
    if found is None or found.at < 0:
        cut = said.finish == "length" and answer == "explain"
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
    mass = min(1.0, math.fsum(weights))
    return Reading(answer=distribution(request.options, weights, key=request.key, mass=mass),
                   explanation=found.reason[:MAX_REASON])  # fmt: skip


def parse_reasoned_draws(
    results: Sequence[ChatResult], request: OptionRequest, *, answer: AnswerForm, is_typed: bool
) -> Reading:
    """Shares of the draws, those that are not of the form counted against the mass; the reason of the first that is."""
    failed = next((r for r in results if r.answer is None), None)
    if failed is not None:
        return missing("failed", failed.error)
    said = [read_answer(r.answer) for r in results if r.answer is not None]
    read: list[SaidScore] = []
    for one in said:
        cut = one.finish == "length" and answer == "explain"
        found = (
            None if cut or one.status != "ok" else read_said(one.text, request.options, form=answer, is_typed=is_typed)
        )
        read += [] if found is None else [found]
    if not read:
        status = next((s for s in ("refused", "failed") if all(one.status == s for one in said)), None)
        if status is not None:
            return missing("refused" if status == "refused" else "failed", said[0].reason)
        return missing("unparsable", f"none of {len(said)} draws held a line or field that is the score")
    counts = [float(sum(one.score == option for one in read)) for option in request.options]
    return Reading(
        answer=distribution(request.options, counts, key=request.key, mass=len(read) / len(said)),
        explanation=read[0].reason[:MAX_REASON],
    )


def _reason(text: str, request: OptionRequest) -> str:
    """What stands before a last line that is only the score; the whole where there is none."""
    said = read_said(text, request.options, form="explain")
    why = text.strip() if said is None else said.reason
    return why.removesuffix(request.prefix.strip()).strip()[:MAX_REASON]
