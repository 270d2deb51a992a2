"""Replies of a model behind an OpenAI-compatible endpoint; no exact probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.models.endpoint.budget import Budget
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.client import ChatClient
from harness.models.endpoint.desk import CallPlan, Desk
from harness.models.endpoint.prices import Price
from harness.models.endpoint.store import CallStore
from harness.models.metering import Meter, Usage
from harness.models.protocol import (
    Capability,
    Continuation,
    ContinuationRequest,
    OnProgress,
    OnReply,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
    require,
)
from harness.models.sampling import validate_decoding
from harness.seeding import derive
from harness.types import BaseModel, Decoding, FinishReason

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class EndpointModel:
    """Asks an endpoint for replies; implements `LanguageModel` with `generate` alone.

    Each row brings its own seed, which an endpoint may or may not honour. A row that fails after its retries becomes a
    reply with finish reason `error` and is missing later; an endpoint that cannot be used at all raises. Charges go to
    the ledger; replies do not go to the store of answers, since generation keeps a journal of its own.
    """

    supports: frozenset[Capability] = frozenset({"generate"})
    base: BaseModel | None = None

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        n_parallel: int = 32,
        n_retries: int = 8,
        timeout: float = 120.0,
        store: CallStore | None = None,
        price: Price | None = None,
        budget: Budget | None = None,
        usage: Usage | None = None,
        purpose: str = "generate",
    ) -> None:
        """Name the endpoint.

        Args:
            base_url: e.g. `http://localhost:8000/v1`.
            model: the model's name there.
            key_variable: environment variable with the key; local servers usually need none.
            n_parallel: ceiling of the requests under way, which follow what the server can take.
            n_retries: attempts after the first, with growing pauses, per request.
            timeout: seconds until an attempt's first byte.
            store: keeps the charges; without one they are not kept.
            price: of the model; None where it is unknown.
            budget: of the whole command; needs a price.
            usage: where answers are counted.
            purpose: for the ledger.
        """
        self.base_url = base_url
        self.model = model
        client = ChatClient(
            url=base_url,
            model=model,
            key_variable=key_variable,
            n_parallel=n_parallel,
            max_retries=n_retries,
            timeout_s=timeout,
        )
        self._desk = Desk(client, purpose=purpose, store=store, price=price, budget=budget, reuses=False, usage=usage)

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """One reply per request, in their order.

        Raises:
            UnavailableError: the endpoint cannot be reached, refuses the key, or has no such model.
            BudgetError: the next request could cross the budget.
        """
        validate_decoding(decoding)
        meter = Meter(len(requests), "replies", on_progress)
        replies: dict[int, Reply] = {}

        def finish(place: int, result: ChatResult) -> None:
            reply = replies[place] = _reply(requests[place], result)
            if on_reply is not None:
                on_reply(reply)
            meter.advance(1, reply.n_tokens or 0)

        self._desk.ask([self.call(request, decoding) for request in requests], on_done=finish)
        return [replies[i] for i in range(len(requests))]

    def plan(self, requests: Sequence[ReplyRequest], *, decoding: Decoding) -> CallPlan:
        """What `generate` would send; sends nothing."""
        return self._desk.plan([self.call(request, decoding) for request in requests])

    def call(self, request: ReplyRequest, decoding: Decoding) -> ChatCall:
        """The request as it is sent."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(m) for m in request.messages],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": derive(decoding.seed, "endpoint", request.key, request.draw) % 2**31,
        }
        if decoding.stop:
            body["stop"] = list(decoding.stop)
        return ChatCall(body=body, draw=request.draw)

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """Not there: raises UnavailableError."""
        require(self, "continuation_logprobs", who=self.model)
        return []

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """Not there: raises UnavailableError."""
        require(self, "option_probabilities", who=self.model)
        return []


def _reply(request: ReplyRequest, result: ChatResult) -> Reply:
    choice = {} if result.answer is None else result.answer["choices"][0]
    text = choice.get("message", {}).get("content")
    is_failed = result.answer is None
    return Reply(
        key=request.key,
        draw=request.draw,
        adapter=request.adapter,
        tag=request.tag,
        text=text.strip() if isinstance(text, str) else "",
        n_tokens=result.n_output,
        finish_reason="error" if is_failed else _FINISH.get(str(choice.get("finish_reason")), "unknown"),
        error=result.error,
    )
