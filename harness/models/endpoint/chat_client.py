"""Chat client: many calls to one server at once, with retries, a concurrency limit and a circuit breaker.

The official `openai` client carries each attempt; its own retries are off. They leave out what most needs one here (an
error or half an answer in a body of status 200, 425, a wait of more than two minutes), do not hold back the other calls
when the server asks for a pause, and make a charge that nobody counts. `retrying` says what a fault means.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from harness.doors.answers import first_choice, is_deep, provider_error, server_sentence
from harness.doors.text import MAX_JSON
from harness.errors import ConfigError, UnavailableError
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.connecting import (
    MOVED,
    N_REDIRECTS,
    PATH,
    failure,
    open_async_client,
    read_key,
    redirected,
    unfollowed,
)
from harness.models.endpoint.limiter import ConcurrencyLimiter
from harness.models.endpoint.parameters import ParameterSupport
from harness.models.endpoint.prices import Budget, Price
from harness.models.endpoint.retrying import Fault, backoff, classify
from harness.types import JsonObject

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

CONNECT_S = 10.0
N_UNREACHED = 3  # attempts at a server that never answered anything before it is called unreachable
N_FAILED = 8  # calls given up in a row, none answered since they began, before the endpoint is: asking on is waste
N_FAILED_INSIDE = 64  # the same of errors inside an answer, which are about one question more often than not

Result = TypeVar("Result")
OnResult = Callable[[str, ChatResult], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One exchange with the server: an answer or a fault."""

    answer: JsonObject | None
    fault: Fault | None
    seconds: float

    def result(self, n_attempts: int, n_lost: int) -> ChatResult:
        """How a call ended of which this was the last attempt."""
        after = f", after {n_attempts} attempts" if n_attempts > 1 else ""
        return ChatResult(
            answer=self.answer,
            error="" if self.fault is None else self.fault.reason + after,
            status=None if self.fault is None else self.fault.status,
            n_attempts=n_attempts,
            n_lost=n_lost,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What the calls of one `run` share."""

    http: AsyncOpenAI
    limiter: ConcurrencyLimiter
    on_result: OnResult
    stopped: asyncio.Event  # nothing more may be sent


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
        price: Price | None = None,
        budget: Budget | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Name the server; nothing is sent yet.

        Args:
            url: base URL, e.g. `http://localhost:8000/v1`.
            model: the model's name there, for messages; a call's body names it too.
            key_variable: environment variable with the key; local servers usually need none.
            timeout_s: until the first byte of an attempt's answer; half as much again until its last.
            n_parallel: ceiling of the calls in flight, which follow what the server can take.
            rng: of the waits; callers that share a seed would come back together, so leave it out.

        Raises:
            ConfigError: there is a budget and no price.
        """
        if budget is not None and price is None:
            raise ConfigError(
                f"`--budget-usd` needs the price of `{model}` at {url}, which is unknown; "
                "for a judge give `runtime: {usd_per_million_tokens: {input: …, output: …}}`, or leave the budget out"
            )
        self.url = url
        self.model = model
        self.key_variable = key_variable
        self.price = price
        self.budget = budget
        self.parameters = ParameterSupport()
        self._timeout_s = timeout_s
        self._n_parallel = n_parallel
        self._max_retries = max_retries
        self._rng = rng or random.Random()
        self._is_reached = False
        self._n_failed = 0
        self._answered_at = 0.0  # when the last answer came, on the monotonic clock
        self._place = PATH  # or the address that a redirect led to

    def run(self, calls: Mapping[str, ChatCall], *, on_result: OnResult) -> None:
        """Ask every call; `on_result` gets each by its key as it ends, and a call is in flight until that has returned.

        Where the budget has no room for another attempt, no more is sent and those in flight are waited for.

        Raises UnavailableError: the endpoint cannot be used at all: key, model name, address, or it stopped answering.
        """
        # The cyclic collector would walk every object of this process again and again, on the one thread that serves
        # all calls: a tenth of them. What is there already is set aside while they run.
        gc.freeze()
        try:
            run_async(self._run(calls, on_result))
        finally:
            gc.unfreeze()

    async def _run(self, calls: Mapping[str, ChatCall], on_result: OnResult) -> None:
        from openai import Timeout

        first_byte = Timeout(self._timeout_s, connect=min(CONNECT_S, self._timeout_s), pool=None)
        limiter = ConcurrencyLimiter(self._n_parallel, self.budget)
        queue = iter(calls.items())

        async def work() -> None:
            for key, call in queue:
                if run.stopped.is_set() or not await self._settle(run, key, call):
                    run.stopped.set()
                    return

        async with open_async_client(self.url, key=read_key(self.key_variable), timeout=first_byte) as http:
            run = _Run(http=http, limiter=limiter, on_result=on_result, stopped=asyncio.Event())
            # More workers than places: while one has its answer written, another has its place at the server.
            n_workers = self._n_parallel + math.ceil(self._n_parallel / 2)
            workers = [asyncio.ensure_future(work()) for _ in range(n_workers)]
            try:
                await asyncio.gather(*workers)
            except BaseException:
                # Answers on their way are paid for: let them arrive and be kept, but send nothing more.
                run.stopped.set()
                await asyncio.gather(*workers, return_exceptions=True)
                raise

    async def _settle(self, run: _Run, key: str, call: ChatCall) -> bool:
        """Attempts of one call until it is answered or given up; False when no more may be sent."""
        n_lost, first_began = 0, time.monotonic()
        for n_attempts in itertools.count(1):
            attempt = await self._admitted(run, call)
            if attempt is None:
                return False
            fault = attempt.fault
            n_lost += fault is not None and fault.is_lost
            is_unreachable = not self._is_reached and n_attempts >= N_UNREACHED
            if fault is None or fault.action != "retry" or n_attempts > self._max_retries or is_unreachable:
                await run.on_result(key, attempt.result(n_attempts, n_lost))
                self._break_circuit(fault, first_began)
                return True
            await _sleep(max(fault.retry_after or 0.0, backoff(n_attempts, self._rng)), run.stopped)
        return False

    async def _admitted(self, run: _Run, call: ChatCall) -> _Attempt | None:
        """One attempt, when the server and the budget have room for it; None when no more may be sent."""
        limiter = run.limiter
        worst = cost = 0.0 if self.price is None else self.price.at_most(call)
        if not await limiter.enter(worst):
            return None
        try:
            while (wait := limiter.pause_left()) > 0 and not run.stopped.is_set():
                await _sleep(wait, run.stopped)
            if run.stopped.is_set():  # perhaps while it waited for room
                cost = 0.0
                return None
            began = time.monotonic()
            attempt = await self._attempt(run.http, call)
            fault = attempt.fault
            if fault is None:
                limiter.succeeded(began=began, seconds=attempt.seconds)
                known = None if self.price is None else self.price.of_result(ChatResult(answer=attempt.answer))
                cost = worst if known is None else known
            else:
                # What was lost on the way may have been charged.
                cost = worst if fault.is_lost else 0.0
                if fault.is_congestion:
                    limiter.congested(began=began, retry_after=fault.retry_after)
                if fault.action == "stop":
                    run.stopped.set()  # before this call gives its place to another
            return attempt
        finally:
            await limiter.leave(worst, cost)

    async def _attempt(self, http: AsyncOpenAI, call: ChatCall) -> _Attempt:
        import openai

        began = time.monotonic()
        answer, fault = None, None
        try:
            async with asyncio.timeout(1.5 * self._timeout_s):
                answer, fault = read_body(await self._post(http, call))
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
            is_lost = type(err.__cause__ or err).__name__ not in ("ConnectError", "ProxyError", "UnsupportedProtocol")
            self._is_reached = self._is_reached or is_lost
            reason, advice = failure(err)
            fault = Fault(action="retry", reason=reason, advice=advice, is_lost=is_lost)
        return _Attempt(answer=answer, fault=fault, seconds=time.monotonic() - began)

    async def _post(self, http: AsyncOpenAI, call: ChatCall) -> bytes:
        """The body of the server's answer; sent anew where it only wants the call written otherwise, or moved.

        Such a refusal is told before anything is computed, so it costs nothing, and the calls after it are spared it.
        """
        import httpx2
        import openai

        n_moves = 0
        while True:
            sent, place = self.parameters.spell(call.body), self._place
            try:
                # Body and answer as they are: the typed call would copy the one and fill in what the other lacks.
                response = await http.post(place, body=sent, cast_to=httpx2.Response)
                return bytes(response.content)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as err:
                is_new = self.parameters.learn(sent, err.body, self._sentence(err))
                if not is_new and self.parameters.spell(call.body) == sent:
                    raise
            except openai.APIStatusError as err:
                n_moves += 1
                if err.status_code not in MOVED or n_moves > N_REDIRECTS or not self._moved(err):
                    raise

    def _moved(self, err: APIStatusError) -> bool:
        """Go where a redirect leads from now on, if that is safe."""
        try:
            self._place = redirected(str(err.request.url), err.response.headers.get("location", ""))
        except ValueError:
            return False
        return True

    def _sentence(self, err: APIStatusError) -> str:
        return server_sentence(err.body, secrets=[os.environ.get(self.key_variable, "")])

    def _status_fault(self, err: APIStatusError) -> Fault:
        if 300 <= err.status_code < 400:
            return Fault(action="stop", reason=unfollowed(err))
        code = err.code if isinstance(err.code, str) else ""
        headers = {name.lower(): value for name, value in err.response.headers.items()}
        fault = classify(
            err.status_code,
            headers,
            code=code,
            model=self.model,
            key_variable=self.key_variable,
            sentence=self._sentence(err),
        )
        return replace(fault, status=err.status_code)

    def _break_circuit(self, fault: Fault | None, began: float) -> None:
        """Circuit breaker: raise when the end of a call that began then leaves no hope for the others."""
        if fault is None:
            self._n_failed, self._answered_at = 0, time.monotonic()
            return
        self._n_failed += began > self._answered_at  # calls that fail take longest, so they come last, in a row
        if fault.action == "stop":
            raise self.unavailable(fault.reason, fault.advice)
        if not self._is_reached:
            raise self.unavailable(f"it cannot be reached: {fault.reason}", fault.advice)
        if self._n_failed >= (N_FAILED_INSIDE if fault.is_inside else N_FAILED):
            told = f"{self._n_failed} calls in a row failed, the last with {fault.reason}"
            raise self.unavailable(told, fault.advice)

    def unavailable(self, reason: str, advice: str = "") -> UnavailableError:
        """The one sentence for an endpoint that cannot be used."""
        return UnavailableError(
            f"`{self.url}` must answer for `{self.model}`: {reason.rstrip('.')}; "
            f"{f'{advice}, then ' if advice else ''}run again: what was answered so far is kept"
        )


def read_body(content: bytes) -> tuple[JsonObject | None, Fault | None]:
    """The answer in a body of status 200, or the fault that it is; an error inside it is one."""
    try:
        answer: Any = json.loads(content) if len(content) <= MAX_JSON else None
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        text = content[:4000].decode("utf-8", "replace").strip()
        said = "" if text.startswith(("{", "[", '"')) else server_sentence(text)  # a proxy's page, but no torn answer
        told = f"an answer that is not JSON{f': {said}' if said else ''}"
        return None, Fault(action="retry", reason=told, is_lost=True)
    if len(content) > MAX_JSON or is_deep(answer):
        return None, Fault(action="retry", reason="an answer that is larger or deeper than any", is_lost=True)
    if (sentence := provider_error(answer)) is not None:
        return None, Fault(action="retry", reason=sentence, is_lost=True, is_inside=True)
    if first_choice(answer) is not None:
        return answer, None
    is_empty = not isinstance(answer, dict) or not isinstance(answer.get("choices"), list) or not answer["choices"]
    what = "choices" if is_empty else "a message"
    return None, Fault(action="retry", reason=f"an answer without {what}", is_lost=True)


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
