"""Replies of a model behind an OpenAI-compatible endpoint; no exact probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.doors.answers import Said, read_answer
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.queue import CallPlan, RequestQueue
from harness.models.metering import Meter
from harness.models.protocol import GeneratesOnly, OnProgress, OnReply, Reply, ReplyRequest, as_reply
from harness.models.sampling import validate_decoding
from harness.seeding import derive
from harness.types import Decoding


class EndpointModel(GeneratesOnly):
    """Asks an endpoint for replies; implements `LanguageModel` with `generate` alone.

    Each row brings its own seed, which an endpoint may or may not honour. A row that fails after its retries becomes a
    reply with finish reason `error`, one that the model refuses has `refused`, and both are missing later; an endpoint
    that cannot be used at all raises. Charges go to the ledger; replies do not go to the cache, since a server that
    is started anew on other weights has the same name: generation keeps a journal until its stage stands.
    """

    def __init__(self, queue: RequestQueue, *, without: Collection[str] = (), opens_thinking: bool = False) -> None:
        """Name the endpoint by a queue that reuses no answers.

        Args:
            without: fields that the server is known to refuse, so not sent.
            opens_thinking: the server's template opens a block of thinking before the reply.
        """
        self.name = queue.client.model
        self._queue = queue
        self._without = frozenset(without)
        self._opens_thinking = opens_thinking

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

        self._queue.ask([self.call(request, decoding) for request in requests], on_done=finish)
        return [replies[i] for i in range(len(requests))]

    def plan(self, requests: Sequence[ReplyRequest], *, decoding: Decoding) -> CallPlan:
        """What `generate` would send; sends nothing."""
        return self._queue.plan([self.call(request, decoding) for request in requests])

    def call(self, request: ReplyRequest, decoding: Decoding) -> ChatCall:
        """The request as it is sent."""
        body: dict[str, Any] = {
            "model": self.name,
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
        return self._queue.client.parameters.dropped

    def _reply(self, request: ReplyRequest, result: ChatResult, decoding: Decoding) -> Reply:
        if result.answer is None:
            said = Said(text="", status="failed", reason=result.error)
        else:
            said = read_answer(result.answer, keep_thinking=decoding.keep_thinking, opens_thinking=self._opens_thinking)
        return as_reply(said, request, n_tokens=result.n_output)
