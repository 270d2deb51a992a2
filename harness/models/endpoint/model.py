"""Models behind an OpenAI-compatible endpoint: replies only, no exact probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from harness.errors import UnavailableError
from harness.models.metering import Meter
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

if TYPE_CHECKING:
    from openai import OpenAI

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class EndpointModel:
    """Asks an endpoint for replies; implements `LanguageModel` with `generate` alone.

    Each row brings its own seed, which an endpoint may or may not honour. A row that fails after the client's retries
    becomes a reply with finish reason `error` and is missing later; an endpoint that cannot be used at all raises.
    """

    supports: frozenset[Capability] = frozenset({"generate"})
    base: BaseModel | None = None

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        n_parallel: int = 4,
        n_retries: int = 4,
        timeout: float = 120.0,
    ) -> None:
        """Name the endpoint.

        Args:
            base_url: e.g. `http://localhost:8000/v1`.
            model: the model's name there.
            key_variable: environment variable with the key; local servers usually need none.
            n_parallel: requests under way at a time.
            n_retries: of the client, with its growing pauses, per request.
            timeout: seconds per attempt.
        """
        self.base_url = base_url
        self.model = model
        self._key_variable = key_variable
        self._n_parallel = n_parallel
        self._n_retries = n_retries
        self._timeout = timeout

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
        """
        validate_decoding(decoding)
        client = self._client()
        meter = Meter(len(requests), "replies", on_progress)
        replies: dict[int, Reply] = {}
        with client, ThreadPoolExecutor(self._n_parallel) as pool:
            pending = {pool.submit(self._reply, client, r, decoding): i for i, r in enumerate(requests)}
            try:
                for done in as_completed(pending):
                    reply = replies[pending[done]] = done.result()
                    if on_reply is not None:
                        on_reply(reply)
                    meter.advance(1, reply.n_tokens or 0)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        return [replies[i] for i in range(len(requests))]

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

    def _client(self) -> OpenAI:
        from openai import OpenAI

        return OpenAI(
            base_url=self.base_url,
            api_key=os.environ.get(self._key_variable) or "none",
            max_retries=self._n_retries,
            timeout=self._timeout,
        )

    def _reply(self, client: OpenAI, request: ReplyRequest, decoding: Decoding) -> Reply:
        import openai

        options: dict[str, Any] = {"stop": list(decoding.stop)} if decoding.stop else {}
        try:
            completion = client.chat.completions.create(
                model=self.model,
                messages=[dict(m) for m in request.messages],  # type: ignore[misc]
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=derive(decoding.seed, "endpoint", request.key, request.draw) % 2**31,
                **options,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError) as err:
            raise self._unavailable(f"it refuses the key in {self._key_variable} (status {err.status_code})") from err
        except openai.NotFoundError as err:
            raise self._unavailable(f"it has no model `{self.model}` at this address (status 404)") from err
        except openai.APITimeoutError:
            return _failed(request, f"no answer within {self._timeout:g} seconds")
        except openai.APIConnectionError as err:
            raise self._unavailable("it cannot be reached") from err
        except openai.APIStatusError as err:
            return _failed(request, f"status {err.status_code}")
        if not completion.choices:
            return _failed(request, "an answer without choices")
        choice = completion.choices[0]
        return Reply(
            key=request.key,
            draw=request.draw,
            adapter=request.adapter,
            tag=request.tag,
            text=(choice.message.content or "").strip(),
            n_tokens=None if completion.usage is None else completion.usage.completion_tokens,
            finish_reason=_FINISH.get(choice.finish_reason, "unknown"),
        )

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"`{self.base_url}` must answer for `{self.model}`: {reason}; check address, model name and key, "
            "then run again: what was generated so far is kept"
        )


def _failed(request: ReplyRequest, reason: str) -> Reply:
    return Reply(
        key=request.key,
        draw=request.draw,
        adapter=request.adapter,
        tag=request.tag,
        text="",
        n_tokens=None,
        finish_reason="error",
        error=reason,
    )
