"""Spending of one command on endpoints: budget, ledger, plans and request queues, shared by its stages."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.judging.spec import EndpointChoice, JudgeSpec
from harness.models.cache import AnswerCache, LedgerTotal
from harness.models.endpoint import EndpointModel, base_url
from harness.models.endpoint.capabilities import Prober
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.prices import Budget, Price, listed_price
from harness.models.endpoint.queue import CallPlan, RequestQueue
from harness.models.metering import Usage
from harness.settings import Settings

REPLY_S = 120.0  # until a reply's first byte; judges say for themselves
PROBE_RETRIES = 2  # whoever asks what a server can do should not wait long for one that cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One thing that a command would ask an endpoint for."""

    what: str  # e.g. "scores of gpt-4o-mini (logprobs)"
    plan: CallPlan
    note: str = ""  # what cannot be known before


@dataclass(kw_only=True)
class Spending:
    """Everything of one command that concerns endpoints; nothing is opened before it is needed."""

    budget: Budget | None = None
    usage: Usage = field(default_factory=Usage)  # answers that came, or stood in the cache
    may_ask: bool = True  # whether servers may be asked what they can do; else only what is known counts
    told: set[str] = field(default_factory=set)  # lines about servers that were said, each once
    _queues: dict[str, RequestQueue] = field(default_factory=dict)
    _probers: dict[str, Prober] = field(default_factory=dict)
    _first_row: int | None = None  # the ledger's newest row when this command opened it

    @functools.cached_property
    def cache(self) -> AnswerCache:
        """Paid answers and the ledger in the SQL store."""
        from harness.store.database import open_database

        cache = AnswerCache(open_database(Settings.from_environment().database_url), "endpoint")
        self._first_row = cache.last_row()
        return cache

    def spent(self) -> LedgerTotal | None:
        """What this command has asked and paid so far; None when it asked no endpoint."""
        return None if self._first_row is None else self.cache.total(after=self._first_row)

    def model(
        self,
        *,
        endpoint: str,
        name: str,
        purpose: str = "generate",
        without: Collection[str] = (),
        opens_thinking: bool = False,
    ) -> EndpointModel:
        """A model behind an endpoint, its charges in the ledger and within the budget; see `EndpointModel`."""
        price = listed_price(base_url(endpoint), name)
        client = ChatClient(url=endpoint, model=name, timeout_s=REPLY_S, price=price, budget=self.budget)
        return EndpointModel(self._to(client, purpose, reuses=False), without=without, opens_thinking=opens_thinking)

    def served(self, endpoint: str, name: str) -> EndpointModel:
        """A model on a server of one's own, which takes no money: its calls stand in the ledger, outside any budget.

        Raises ConfigError: there is a budget, and the model has a price after all.
        """
        if self.budget is not None and listed_price(base_url(endpoint), name) is not None:
            raise ConfigError(
                f"`--endpoint` must be a server of your own where there is a budget, and `{name}` has a price at "
                f"{endpoint}: name it as a variant instead"
            )
        client = ChatClient(url=endpoint, model=name, timeout_s=REPLY_S)
        return EndpointModel(self._to(client, "generate", reuses=False))

    def queue(self, spec: JudgeSpec, *, repetition: int = 0) -> RequestQueue:
        """Where a judge behind an endpoint hands in its calls; with `repetition` 1 it asks everything a second time.

        Raises ConfigError: the judge is local, or there is a budget and no price.
        """
        choice, runtime = _choice(spec), spec.runtime
        known = f"{spec.name} {choice!r} {runtime!r} {repetition}"
        if known not in self._queues:
            url = base_url(choice.endpoint)
            client = ChatClient(
                url=url,
                model=choice.name,
                key_variable=choice.key_variable,
                timeout_s=runtime.timeout_s,
                n_parallel=runtime.n_parallel,
                max_retries=runtime.max_retries,
                price=price_of(spec),
                budget=self.budget,
            )
            self._queues[known] = self._to(client, spec.name, repetition=repetition)
        return self._queues[known]

    def abilities(self, spec: JudgeSpec, *, may_ask: bool = True) -> Prober:
        """What the server of a judge can do."""
        choice = _choice(spec)
        return self.prober(
            choice.endpoint, choice.name, key_variable=choice.key_variable, price=price_of(spec), may_ask=may_ask
        )

    def prober(
        self,
        endpoint: str | None,
        name: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        price: Price | None = None,
        may_ask: bool = True,
    ) -> Prober:
        """What a model at an endpoint can do, found out once; without `may_ask`, only what is known counts."""
        url = base_url(endpoint)
        known = f"{url} {name} {key_variable} {may_ask and self.may_ask}"
        if known not in self._probers:
            client = ChatClient(
                url=url,
                model=name,
                key_variable=key_variable,
                max_retries=PROBE_RETRIES,
                price=price or listed_price(url, name),
                budget=self.budget,
            )
            queue = RequestQueue(client, purpose="probe", cache=self.cache, reuses=False)  # no usage: nobody's answers
            self._probers[known] = Prober(queue, may_ask=may_ask and self.may_ask)
        return self._probers[known]

    def _to(self, client: ChatClient, purpose: str, **how: Any) -> RequestQueue:
        return RequestQueue(client, purpose=purpose, cache=self.cache, usage=self.usage, **how)


def _choice(spec: JudgeSpec) -> EndpointChoice:
    if not isinstance(spec.model, EndpointChoice):
        raise ConfigError(f"`{spec.name}` judges with local weights and asks no endpoint")
    return spec.model


def price_of(spec: JudgeSpec) -> Price | None:
    """A judge's own price, else the list's; None where neither knows it."""
    own, model = spec.runtime.usd_per_million_tokens, spec.model
    if own is not None:
        return Price(input=own.input, output=own.output)
    return listed_price(base_url(model.endpoint), model.name) if isinstance(model, EndpointChoice) else None
