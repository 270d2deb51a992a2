"""Where calls are handed in: known answers come from the store, the rest is asked, paid for and kept.

A call is in flight from its first attempt until its answer and its charge stand in the store, so that a killed run
loses, and pays again for, calls in flight and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.errors import ConfigError
from harness.models.endpoint.budget import Budget
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.client import ChatClient
from harness.models.endpoint.prices import Price
from harness.models.endpoint.store import CallStore, Charge
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


class Desk:
    """Asks one model behind one server, through the store, within the budget."""

    def __init__(
        self,
        client: ChatClient,
        *,
        purpose: str,
        store: CallStore | None = None,
        price: Price | None = None,
        budget: Budget | None = None,
        reuses: bool = True,
        repetition: int = 0,
        usage: Usage | None = None,
    ) -> None:
        """Put store, price and budget around a client.

        Args:
            client: carries the calls.
            purpose: for the ledger: a judge's name, or "generate".
            store: keeps answers and charges; without one nothing is kept.
            price: of the model; None where it is unknown.
            budget: of the whole command.
            reuses: whether an answer of the store counts and an answer is put there; charges always are.
            repetition: 1 asks everything a second time, whatever the store has of the first.
            usage: where answers are counted, those of the store too; shared by the desks of a command.

        Raises:
            ConfigError: there is a budget and no price.
        """
        if budget is not None and price is None:
            raise ConfigError(
                f"`--budget-usd` needs the price of `{client.model}` at {client.url}, which is unknown; "
                "for a judge give `runtime: {usd_per_million_tokens: {input: …, output: …}}`, or leave the budget out"
            )
        self.client = client
        self.price = price
        self._purpose = purpose
        self._store = store
        self._budget = budget
        self._reuses = reuses
        self._repetition = repetition
        self._usage = usage

    def plan(self, calls: Sequence[ChatCall]) -> CallPlan:
        """What `ask` would send; sends nothing."""
        keys = self._keys(calls)
        known = self._known(keys)
        fresh = list({key: call for key, call in zip(keys, calls, strict=True) if key not in known}.values())
        n_input, n_output = sum(c.n_input_at_most for c in fresh), sum(c.n_output_at_most for c in fresh)
        return CallPlan(
            n_calls=len(fresh),
            n_known=len(calls) - len(fresh),
            n_bytes=sum(c.n_bytes for c in fresh),
            n_input_at_most=n_input,
            n_output_at_most=n_output,
            usd_at_most=None if self.price is None else self.price.of(n_input=n_input, n_output=n_output),
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

        for key, answer in self._known(places).items():
            finish(key, ChatResult(answer=answer))
        fresh = {key: calls[at[0]] for key, at in places.items() if key not in results}
        if fresh:
            _Round(self.client, self._store, self.price, self._budget, self._purpose, self._reuses).run(fresh, finish)
        if len(results) < len(places) and self._budget is not None:
            raise self._budget.reached(len(places) - len(results))
        return [results[key] for key in keys]

    def _keys(self, calls: Sequence[ChatCall]) -> list[str]:
        return [call.key(self.client.url, repetition=self._repetition) for call in calls]

    def _known(self, keys: Iterable[str]) -> dict[str, JsonObject]:
        return self._store.answers(keys) if self._store is not None and self._reuses else {}


class _Round:
    """One `ask`: its calls, its reservations, and the writer that keeps what came."""

    def __init__(
        self,
        client: ChatClient,
        store: CallStore | None,
        price: Price | None,
        budget: Budget | None,
        purpose: str,
        reuses: bool,
    ) -> None:
        self._client = client
        self._writer = None if store is None else _Writer(store)
        self._price = price
        self._budget = budget
        self._purpose = purpose
        self._reuses = reuses
        self._settled = asyncio.Condition()
        self._n_paid: dict[int, int] = {}  # lost attempts already counted as spent, by call

    def run(self, fresh: dict[str, ChatCall], finish: Callable[[str, ChatResult], None]) -> None:
        keys = {id(call): key for key, call in fresh.items()}

        async def on_result(call: ChatCall, result: ChatResult) -> None:
            key = keys[id(call)]
            await self._pay(call, result)
            if self._writer is not None:
                await self._writer.keep(self._charge(key, result), result.answer if self._reuses else None)
            finish(key, result)

        self._client.run(list(fresh.values()), on_result=on_result, gate=self if self._budget is not None else None)

    async def admit(self, call: ChatCall, n_attempts: int, n_lost: int) -> bool:
        """Room for one attempt. The one before gives its room back first, or a call would wait for itself."""
        if self._budget is None:
            return True
        if n_attempts > 0:
            await self.abandon(call, n_lost)
        return await self._budget.reserve(self._worst(call), self._settled)

    async def abandon(self, call: ChatCall, n_lost: int) -> None:
        """Give the room back, but for answers lost on the way, which may have been charged."""
        await self._settle(call, n_lost, cost=0.0)

    async def _settle(self, call: ChatCall, n_lost: int, *, cost: float) -> None:
        if self._budget is None:
            return
        worst = self._worst(call)
        fresh_losses = n_lost - self._n_paid.get(id(call), 0)
        self._n_paid[id(call)] = n_lost
        await self._budget.settle(worst, cost + worst * fresh_losses, self._settled)

    def _worst(self, call: ChatCall) -> float:
        if self._price is None:
            return 0.0
        return self._price.of(n_input=call.n_input_at_most, n_output=call.n_output_at_most)

    async def _pay(self, call: ChatCall, result: ChatResult) -> None:
        """The reservation becomes what was charged; where the server does not say, the worst case."""
        known = self._usd(result)
        cost = known if known is not None else self._worst(call) if result.answer is not None else 0.0
        await self._settle(call, result.n_lost, cost=cost)

    def _usd(self, result: ChatResult) -> float | None:
        if self._price is None or result.n_input is None or result.n_output is None:
            return None
        return self._price.of(n_input=result.n_input, n_output=result.n_output)

    def _charge(self, key: str, result: ChatResult) -> Charge:
        return Charge(
            key=key,
            url=self._client.url,
            model=self._client.model,
            purpose=self._purpose,
            n_attempts=result.n_attempts,
            n_lost=result.n_lost,
            n_input=result.n_input,
            n_output=result.n_output,
            usd=self._usd(result),
            seconds=result.seconds,
            error=result.error,
        )


class _Writer:
    """Commits in groups: whatever came while the last commit was under way goes into the next."""

    def __init__(self, store: CallStore) -> None:
        self._store = store
        self._waiting: list[_Entry] = []
        self._lock = asyncio.Lock()

    async def keep(self, charge: Charge, answer: JsonObject | None) -> None:
        """Return once charge and answer stand in the store."""
        entry = _Entry(charge, answer)
        self._waiting.append(entry)
        async with self._lock:
            if entry.is_kept:  # in the group of whoever had the lock before
                return
            group = list(self._waiting)
            answers = {e.charge.key: e.answer for e in group if e.answer is not None}
            await asyncio.to_thread(self._store.write, [e.charge for e in group], answers)
            for e in group:
                e.is_kept = True
            del self._waiting[: len(group)]


@dataclass(slots=True)
class _Entry:
    charge: Charge
    answer: JsonObject | None
    is_kept: bool = False
