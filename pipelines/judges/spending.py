"""What a command may spend on endpoints, and what it would: budget, ledger and plans, shared by its stages."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from harness.errors import ConfigError
from harness.judging.remote_reading import gives_logprobs
from harness.judging.spec import EndpointChoice, JudgeSpec
from harness.models.endpoint.address import base_url
from harness.models.endpoint.budget import Budget
from harness.models.endpoint.client import ChatClient
from harness.models.endpoint.desk import CallPlan, Desk
from harness.models.endpoint.model import EndpointModel
from harness.models.endpoint.prices import Price, listed_price
from harness.models.endpoint.store import CallStore, LedgerTotal
from harness.models.metering import Usage
from harness.settings import Settings


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
    _desks: dict[str, Desk] = field(default_factory=dict)
    _first_row: int | None = None  # the ledger's newest row when this command opened it

    @functools.cached_property
    def store(self) -> CallStore:
        """Answers and ledger in the SQL store."""
        from harness.database import open_database

        store = CallStore(open_database(Settings.from_environment().database_url))
        self._first_row = store.last_row()
        return store

    def spent(self) -> LedgerTotal | None:
        """What this command has asked and paid so far; None when it asked no endpoint."""
        return None if self._first_row is None else self.store.total(after=self._first_row)

    def model(self, *, endpoint: str, name: str, purpose: str = "generate") -> EndpointModel:
        """A model behind an endpoint, its charges in the ledger and within the budget."""
        return EndpointModel(
            base_url=endpoint,
            model=name,
            store=self.store,
            price=listed_price(base_url(endpoint), name),
            budget=self.budget,
            usage=self.usage,
            purpose=purpose,
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

    def has_logprobs(self, spec: JudgeSpec) -> bool:
        """Whether the endpoint of a judge gives log-probabilities: one call, kept as any other."""
        return gives_logprobs(self.desk(spec), model=spec.source, top_logprobs=spec.top_logprobs)
