"""What a command may spend on endpoints, and what it would: budget, ledger and plans, shared by its stages."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass, field

from harness.errors import ConfigError
from harness.judging.spec import EndpointChoice, JudgeSpec
from harness.models.endpoint.address import base_url
from harness.models.endpoint.budget import Budget
from harness.models.endpoint.capabilities import Prober
from harness.models.endpoint.client import ChatClient
from harness.models.endpoint.desk import CallPlan, Desk
from harness.models.endpoint.model import EndpointModel
from harness.models.endpoint.prices import Price, listed_price
from harness.models.endpoint.store import CallStore, LedgerTotal
from harness.models.metering import Usage
from harness.settings import Settings

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
    usage: Usage = field(default_factory=Usage)  # answers that came, or stood in the store
    told: set[str] = field(default_factory=set)  # lines about servers that were said, each once
    _desks: dict[str, Desk] = field(default_factory=dict)
    _probers: dict[str, Prober] = field(default_factory=dict)
    _first_row: int | None = None  # the ledger's newest row when this command opened it

    @functools.cached_property
    def store(self) -> CallStore:
        """Answers and ledger in the SQL store."""
        from harness.store.database import open_database

        store = CallStore(open_database(Settings.from_environment().database_url))
        self._first_row = store.last_row()
        return store

    def spent(self) -> LedgerTotal | None:
        """What this command has asked and paid so far; None when it asked no endpoint."""
        return None if self._first_row is None else self.store.total(after=self._first_row)

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
        return EndpointModel(
            base_url=endpoint,
            model=name,
            store=self.store,
            price=listed_price(base_url(endpoint), name),
            budget=self.budget,
            usage=self.usage,
            purpose=purpose,
            without=without,
            opens_thinking=opens_thinking,
        )

    def served(self, endpoint: str, name: str) -> EndpointModel:
        """A model on a server of one's own, which takes no money: its calls stand in the ledger, outside any budget.

        Raises:
            ConfigError: there is a budget, and the model has a price after all.
        """
        if self.budget is not None and listed_price(base_url(endpoint), name) is not None:
            raise ConfigError(
                f"`--endpoint` must be a server of your own where there is a budget, and `{name}` has a price at "
                f"{endpoint}: name it as a variant instead"
            )
        return EndpointModel(base_url=endpoint, model=name, store=self.store, usage=self.usage, purpose="generate")

    def desk(self, spec: JudgeSpec, *, repetition: int = 0) -> Desk:
        """Where a judge behind an endpoint hands in its calls; with `repetition` 1 it asks everything a second time.

        Raises:
            ConfigError: the judge is local, or there is a budget and no price.
        """
        choice, runtime = spec.model, spec.runtime
        if not isinstance(choice, EndpointChoice):
            raise ConfigError(f"`{spec.name}` judges with local weights and asks no endpoint")
        url = base_url(choice.endpoint)
        known = f"{spec.name} {choice!r} {runtime!r} {repetition}"
        if known not in self._desks:
            client = ChatClient(
                url=url,
                model=choice.name,
                key_variable=choice.key_variable,
                timeout_s=runtime.timeout_s,
                n_parallel=runtime.n_parallel,
                max_retries=runtime.max_retries,
            )
            own = runtime.usd_per_million_tokens
            price = listed_price(url, choice.name) if own is None else Price(input=own.input, output=own.output)
            self._desks[known] = Desk(
                client,
                purpose=spec.name,
                store=self.store,
                price=price,
                budget=self.budget,
                repetition=repetition,
                usage=self.usage,
            )
        return self._desks[known]

    def abilities(self, spec: JudgeSpec, *, may_ask: bool = True) -> Prober:
        """What the server of a judge can do."""
        choice, own = spec.model, spec.runtime.usd_per_million_tokens
        if not isinstance(choice, EndpointChoice):
            raise ConfigError(f"`{spec.name}` judges with local weights and asks no endpoint")
        price = None if own is None else Price(input=own.input, output=own.output)
        url, key = base_url(choice.endpoint), choice.key_variable
        return self.prober(url, choice.name, key_variable=key, price=price, may_ask=may_ask)

    def prober(
        self,
        endpoint: str,
        name: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        price: Price | None = None,
        may_ask: bool = True,
    ) -> Prober:
        """What a model at an endpoint can do, found out once; without `may_ask`, only what is known counts."""
        endpoint = base_url(endpoint)
        known = f"{endpoint} {name} {key_variable} {may_ask}"
        if known not in self._probers:
            client = ChatClient(url=endpoint, model=name, key_variable=key_variable, max_retries=PROBE_RETRIES)
            price = price or listed_price(endpoint, name)
            desk = Desk(client, purpose="probe", store=self.store, price=price, budget=self.budget, reuses=False)
            self._probers[known] = Prober(desk, store=self.store, may_ask=may_ask)
        return self._probers[known]
