"""Request queue: known answers come from the cache, the rest is asked, charged and kept.

A call is in flight from its first attempt until its answer and its charge stand in the cache, so that a killed run
loses, and pays again for, calls in flight and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.composing import compose
from harness.models.cache import AnswerCache, Charge
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.chat_client import ChatClient
from harness.models.metering import Usage
from harness.types import JsonObject

OnDone = Callable[[int, ChatResult], None]  # gets the place of a call among those handed in, and how it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """What asking would take, before anything is sent."""

    n_calls: int  # to be sent
    n_known: int  # answered already, or the same as another
    n_bytes: int  # of text to be sent, UTF-8
    n_input_at_most: int  # tokens
    n_output_at_most: int
    usd_at_most: float | None  # None: the price is unknown


class RequestQueue:
    """Asks one model behind one server, through the cache."""

    def __init__(
        self,
        client: ChatClient,
        *,
        purpose: str,
        cache: AnswerCache | None = None,
        reuses: bool = True,
        repetition: int = 0,
        usage: Usage | None = None,
    ) -> None:
        """Put a cache before a client.

        Args:
            purpose: for the ledger: a judge's name, or "generate".
            cache: keeps answers and charges; without one nothing is kept.
            reuses: whether an answer of the cache counts and an answer is put there; charges always are.
            repetition: 1 asks everything a second time, whatever the cache has of the first.
            usage: where answers are counted, those of the cache too; shared by the queues of a command.
        """
        self.client = client
        self._purpose = purpose
        self.cache = cache
        self._reuses = reuses
        self._repetition = repetition
        self._usage = usage

    def plan(self, calls: Sequence[ChatCall]) -> CallPlan:
        """What `ask` would send; sends nothing."""
        keys = self._keys(calls)
        known = self._known(keys)
        fresh = list({key: call for key, call in zip(keys, calls, strict=True) if key not in known}.values())
        price = self.client.price
        return CallPlan(
            n_calls=len(fresh),
            n_known=len(calls) - len(fresh),
            n_bytes=sum(c.n_bytes for c in fresh),
            n_input_at_most=sum(c.n_input_at_most for c in fresh),
            n_output_at_most=sum(c.n_output_at_most for c in fresh),
            usd_at_most=None if price is None else sum(price.at_most(c) for c in fresh),
        )

    def ask(self, calls: Sequence[ChatCall], *, on_done: OnDone | None = None) -> list[ChatResult]:
        """One result per call, in their order; equal calls are asked once.

        Raises:
            UnavailableError: the endpoint cannot be used at all.
            BudgetError: the next call could cross the budget.
        """
        keys = self._keys(calls)
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        results: dict[str, ChatResult] = {}

        def finish(key: str, result: ChatResult) -> None:
            results[key] = result
            if self._usage is not None and result.answer is not None:
                self._usage.add(n_input=result.n_input, n_output=result.n_output)
            if on_done is not None:
                for place in places[key]:
                    on_done(place, result)

        async def keep(key: str, result: ChatResult) -> None:
            if writer is not None:
                await writer.keep(self._charge(key, result), result.answer if self._reuses else None)
            finish(key, result)

        for key, answer in self._known(places).items():
            finish(key, ChatResult(answer=answer))
        fresh = {key: calls[at[0]] for key, at in places.items() if key not in results}
        writer = None if self.cache is None else _GroupCommit(self.cache)
        if fresh:
            self.client.run(fresh, on_result=keep)
        self._require_all(len(places) - len(results))
        return [results[key] for key in keys]

    def _require_all(self, n_lacking: int) -> None:
        if n_lacking and self.client.budget is not None:
            raise self.client.budget.reached(n_lacking)

    def _keys(self, calls: Sequence[ChatCall]) -> list[str]:
        return [call.key(self.client.url, repetition=self._repetition) for call in calls]

    def _known(self, keys: Iterable[str]) -> dict[str, JsonObject]:
        return self.cache.read(keys) if self.cache is not None and self._reuses else {}

    def _charge(self, key: str, result: ChatResult) -> Charge:
        usd = None if self.client.price is None else self.client.price.of_result(result)
        return compose(Charge, self.client, result, key=key, purpose=self._purpose, usd=usd)


class _GroupCommit:
    """Group commit: whatever came while the last commit was under way goes into the next."""

    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache
        self._waiting: dict[str, tuple[Charge, JsonObject | None]] = {}
        self._lock = asyncio.Lock()

    async def keep(self, charge: Charge, answer: JsonObject | None) -> None:
        """Return once charge and answer stand in the cache."""
        self._waiting[charge.key] = (charge, answer)
        async with self._lock:
            if charge.key not in self._waiting:  # in the group of whoever had the lock before
                return
            group = dict(self._waiting)
            answers = {key: answer for key, (_, answer) in group.items() if answer is not None}
            await asyncio.to_thread(self._cache.write, answers, [charge for charge, _ in group.values()])
            for key in group:
                del self._waiting[key]
