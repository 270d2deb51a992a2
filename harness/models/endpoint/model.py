"""Replies of a model behind an OpenAI-compatible endpoint; no exact probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.doors.answers import Said, read_answer
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
    as_reply,
    require,
)
from harness.models.sampling import validate_decoding
from harness.seeding import derive
from harness.types import BaseModel, Decoding


class EndpointModel:
    """Asks an endpoint for replies; implements `LanguageModel` with `generate` alone.

    Each row brings its own seed, which an endpoint may or may not honour. A row that fails after its retries becomes a
    reply with finish reason `error`, one that the model refuses has `refused`, and both are missing later; an endpoint
    that cannot be used at all raises. Charges go to the ledger; replies do not go to the store of answers, since
    generation keeps a journal of its own.
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
        without: Collection[str] = (),
        opens_thinking: bool = False,
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
            without: fields that the server is known to refuse, so not sent.
            opens_thinking: the server's template opens a block of thinking before the reply.
        """
        self._without = frozenset(without)
        self._opens_thinking = opens_thinking
        self.base_url = base_url
        self.model = model
        self._client = ChatClient(
            url=base_url,
            model=model,
            key_variable=key_variable,
            n_parallel=n_parallel,
            max_retries=n_retries,
            timeout_s=timeout,
        )
        self._desk = Desk(
            self._client, purpose=purpose, store=store, price=price, budget=budget, reuses=False, usage=usage
        )

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
            reply = replies[place] = self._reply(requests[place], result, decoding)
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
        return ChatCall(body={k: v for k, v in body.items() if k not in self._without}, draw=request.draw)

    @property
    def refused(self) -> Mapping[str, str]:
        """Fields that the server has refused since and that were left out from then on, with its own words."""
        return self._client.dialect.dropped

    def _reply(self, request: ReplyRequest, result: ChatResult, decoding: Decoding) -> Reply:
        if result.answer is None:
            said = Said(text="", status="failed", reason=result.error)
        else:
            said = read_answer(result.answer, keep_thinking=decoding.keep_thinking, opens_thinking=self._opens_thinking)
        r = request
        return as_reply(said, key=r.key, draw=r.draw, adapter=r.adapter, tag=r.tag, n_tokens=result.n_output)

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
