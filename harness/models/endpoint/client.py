"""One server asked many things at once: attempts, waits, retries, and when to stop.

The official `openai` client carries each attempt; its own retries are off, since a retry that nobody sees is a charge
that nobody counts. An answer is a JSON object with at least one choice; everything else is a fault, and `retrying` says
what a fault means.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.errors import UnavailableError
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.pacing import Pace
from harness.models.endpoint.retrying import Fault, backoff, classify, wants_new_cap
from harness.types import JsonObject

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

CONNECT_S = 10.0
N_UNREACHED = 3  # attempts at a server that never answered anything before it is called unreachable
N_HOPELESS = 8  # calls given up in a row, none answered in between, before the endpoint is: asking on would be waste

Result = TypeVar("Result")
OnResult = Callable[[ChatCall, ChatResult], Awaitable[None]]


class Gate(Protocol):
    """What may be sent, e.g. within a budget."""

    async def admit(self, call: ChatCall, n_attempts: int, n_lost: int) -> bool:
        """Whether one more attempt may be made, after so many of which so many were lost on the way."""

    async def abandon(self, call: ChatCall, n_lost: int) -> None:
        """An admitted attempt is not made after all, and none will follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One exchange with the server: an answer or a fault."""

    answer: JsonObject | None
    fault: Fault | None
    seconds: float


class ChatClient:
    """Asks one model behind one OpenAI-compatible server."""

    def __init__(
        self,
        *,
        url: str,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        timeout_s: float = 60.0,
        n_parallel: int = 32,
        max_retries: int = 8,
        rng: random.Random | None = None,
    ) -> None:
        """Name the server; nothing is sent yet.

        Args:
            url: base URL, e.g. `http://localhost:8000/v1`.
            model: the model's name there, for messages; a call's body names it too.
            key_variable: environment variable with the key; local servers usually need none.
            timeout_s: until the first byte of an attempt's answer; half as much again until its last.
            n_parallel: ceiling of the calls in flight, which follow what the server can take.
            max_retries: attempts after the first, per call.
            rng: of the waits; callers that share a seed would come back together, so leave it out.
        """
        self.url = url
        self.model = model
        self.key_variable = key_variable
        self._timeout_s = timeout_s
        self._n_parallel = n_parallel
        self._max_retries = max_retries
        self._rng = rng or random.Random()
        self._is_reached = False
        self._n_hopeless = 0
        self._is_cap_renamed = False  # the server knows no `max_tokens`

    def run(self, calls: Iterable[ChatCall], *, on_result: OnResult, gate: Gate | None = None) -> None:
        """Ask every call; `on_result` gets each as it ends, and a call is in flight until that has returned.

        `gate` is asked before every attempt; when it says no, no more is sent and those in flight are waited for.

        Raises:
            UnavailableError: the endpoint cannot be used at all: key, model name, address, or it stopped answering.
        """
        # The cyclic collector would walk every object of this process again and again, on the one thread that serves
        # all calls: a tenth of them. What is there already is set aside while they run.
        gc.freeze()
        try:
            run_async(self._run(list(calls), on_result, gate))
        finally:
            gc.unfreeze()

    async def _run(self, calls: Iterable[ChatCall], on_result: OnResult, gate: Gate | None) -> None:
        pace = Pace(self._n_parallel)
        stopped = asyncio.Event()
        queue = iter(calls)

        async def work(client: AsyncOpenAI) -> None:
            for call in queue:
                if not await self._settle(client, call, pace, on_result, gate, stopped):
                    stopped.set()
                if stopped.is_set():
                    return

        async with self._open() as client:
            # More workers than places: while one has its answer written, another has its place at the server.
            n_workers = self._n_parallel + math.ceil(self._n_parallel / 2)
            workers = [asyncio.ensure_future(work(client)) for _ in range(n_workers)]
            try:
                await asyncio.gather(*workers)
            except BaseException:
                # Answers on their way are paid for: let them arrive and be kept, but send nothing more.
                stopped.set()
                await asyncio.gather(*workers, return_exceptions=True)
                raise

    def _open(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, Timeout

        first_byte = Timeout(self._timeout_s, connect=min(CONNECT_S, self._timeout_s), pool=None)
        key = os.environ.get(self.key_variable) or "none"
        return AsyncOpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=first_byte)

    async def _settle(
        self,
        client: AsyncOpenAI,
        call: ChatCall,
        pace: Pace,
        on_result: OnResult,
        gate: Gate | None,
        stopped: asyncio.Event,
    ) -> bool:
        """Attempts of one call until it is answered or given up; False when no more may be sent."""
        n_lost = 0
        for n_attempts in range(1, self._max_retries + 2):
            await pace.enter()
            try:
                while (wait := pace.pause_left()) > 0 and not stopped.is_set():
                    await _sleep(wait, stopped)
                if gate is not None and not await gate.admit(call, n_attempts - 1, n_lost):
                    return False
                if stopped.is_set():  # perhaps while it waited for room
                    if gate is not None:
                        await gate.abandon(call, n_lost)
                    return False
                began = time.monotonic()
                attempt = await self._attempt(client, call)
                fault = attempt.fault
                n_lost += fault is not None and fault.is_lost
                if fault is None:
                    pace.succeeded(began=began, seconds=attempt.seconds)
                elif fault.is_congestion:
                    pace.congested(began=began, retry_after=fault.retry_after)
                if fault is not None and fault.action == "stop":
                    stopped.set()  # before this call gives its place to another
            finally:
                await pace.leave()
            is_unreachable = not self._is_reached and n_attempts >= N_UNREACHED
            if fault is None or fault.action != "retry" or n_attempts > self._max_retries or is_unreachable:
                result = ChatResult(
                    answer=attempt.answer,
                    error="" if fault is None else _sentence(fault, n_attempts),
                    n_attempts=n_attempts,
                    n_lost=n_lost,
                    seconds=attempt.seconds,
                )
                await on_result(call, result)
                self._require_hope(fault)
                return True
            await _sleep(max(fault.retry_after or 0.0, backoff(n_attempts, self._rng)), stopped)
        return True

    async def _attempt(self, client: AsyncOpenAI, call: ChatCall) -> _Attempt:
        import openai

        began = time.monotonic()
        answer, fault = None, None
        try:
            async with asyncio.timeout(1.5 * self._timeout_s):
                answer, fault = read_body(await self._post(client, call))
            self._is_reached = True
        except openai.APIStatusError as err:
            self._is_reached = True
            fault = self._status_fault(err)
        except (openai.APITimeoutError, TimeoutError) as err:
            # Without a connection nothing was asked; with one, the answer may have been on its way.
            is_lost = type(err.__cause__).__name__ != "ConnectTimeout"
            self._is_reached = self._is_reached or is_lost
            fault = Fault(action="retry", reason=f"no answer within {self._timeout_s:g} seconds", is_lost=is_lost)
        except openai.APIConnectionError as err:
            kind = type(err.__cause__ or err).__name__
            is_lost = kind != "ConnectError"
            self._is_reached = self._is_reached or is_lost
            fault = Fault(action="retry", reason=f"the connection broke ({kind})", is_lost=is_lost)
        return _Attempt(answer=answer, fault=fault, seconds=time.monotonic() - began)

    async def _post(self, client: AsyncOpenAI, call: ChatCall) -> bytes:
        """The body of the server's answer; sent once more where the server only wants the length cap named otherwise.

        Such a refusal is told before anything is computed, so it costs nothing, and the calls after it are spared it.
        """
        import httpx2
        import openai

        body, is_renamed = self._spelled(call), self._is_cap_renamed
        try:
            # Body and answer as they are: the typed call would copy the one and fill in what the other lacks.
            response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
        except openai.BadRequestError as err:
            if is_renamed or not wants_new_cap(err.body):
                raise
            self._is_cap_renamed = True
            response = await client.post("/chat/completions", body=self._spelled(call), cast_to=httpx2.Response)
        return bytes(response.content)

    def _spelled(self, call: ChatCall) -> dict[str, Any]:
        """The call's body with its length cap under the name that the server knows."""
        body = dict(call.body)
        if self._is_cap_renamed:
            body["max_completion_tokens"] = body.pop("max_tokens")
        return body

    def _status_fault(self, err: APIStatusError) -> Fault:
        code = err.code if isinstance(err.code, str) else ""
        headers = {name.lower(): value for name, value in err.response.headers.items()}
        return classify(err.status_code, headers, code=code, model=self.model, key_variable=self.key_variable)

    def _require_hope(self, fault: Fault | None) -> None:
        """Raise when a call that ended so leaves none for the others."""
        self._n_hopeless = 0 if fault is None else self._n_hopeless + 1
        if fault is None:
            return
        if fault.action == "stop":
            raise self.unavailable(fault.reason)
        if not self._is_reached:
            raise self.unavailable(f"it cannot be reached: {fault.reason}")
        if self._n_hopeless >= N_HOPELESS:
            raise self.unavailable(f"{self._n_hopeless} calls in a row failed, the last with {fault.reason}")

    def unavailable(self, reason: str) -> UnavailableError:
        """The one sentence for an endpoint that cannot be used."""
        return UnavailableError(
            f"`{self.url}` must answer for `{self.model}`: {reason}; check address, model name and key, "
            "then run again: what was answered so far is kept"
        )


def read_body(content: bytes) -> tuple[JsonObject | None, Fault | None]:
    """The answer in a body of status 200, or the fault that it is."""
    try:
        answer: Any = json.loads(content)
    except ValueError:  # UnicodeDecodeError is one
        return None, Fault(action="retry", reason="an answer that is not JSON", is_lost=True)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices:
        return None, Fault(action="retry", reason="an answer without choices", is_lost=True)
    choice = choices[0]
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return None, Fault(action="retry", reason="an answer without a message", is_lost=True)
    return answer, None


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end, also from inside somebody's event loop (a notebook's): then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _sleep(seconds: float, stopped: asyncio.Event) -> None:
    """Wait, but not past the moment at which everything stops."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


def _sentence(fault: Fault, n_attempts: int) -> str:
    return fault.reason if n_attempts == 1 else f"{fault.reason}, after {n_attempts} attempts"
