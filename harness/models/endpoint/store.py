"""Answers and charges in the SQL store: content-addressed answers, one ledger row per call that was made."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.models.answers import AnswerStore, commit_to_system
from harness.store.database import writing
from harness.types import JsonObject

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one call cost: a row of the ledger."""

    key: str
    url: str
    model: str
    purpose: str  # the judge's id, or "generate"
    n_attempts: int
    n_lost: int
    n_input: int | None
    n_output: int | None
    usd: float | None  # None: tokens or price are unknown
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotal:
    """Sums over the ledger."""

    n_calls: int
    n_failed: int
    n_input: int
    n_output: int
    usd: float  # of the calls whose cost is known
    n_unknown: int  # answered calls whose cost is not


class CallStore:
    """The tables `endpoint_answers` and `endpoint_calls`."""

    def __init__(self, engine: Engine) -> None:
        """On an engine of `harness.store.database.open_database`, with its tables; the store's own from now.

        A commit that waited for the disk would hold every call's place for two of them.
        """
        self._engine = engine
        self._answers = AnswerStore(engine, "endpoint_answers")
        commit_to_system(engine)

    def answers(self, keys: Iterable[str]) -> dict[str, JsonObject]:
        """The stored answers among the keys."""
        return self._answers.read(keys)

    def write(self, charges: Sequence[Charge], answers: Mapping[str, JsonObject]) -> None:
        """Charges and the answers they bought, in one transaction: neither can stand without the other."""
        now = datetime.datetime.now(datetime.UTC)
        with writing(self._engine) as connection:
            self._answers.insert(connection, answers)
            if charges:
                connection.execute(_calls().insert(), [{**asdict(charge), "ended_at": now} for charge in charges])

    def replace(self, key: str, answer: JsonObject) -> None:
        """Keep what counts now in place of what stood under a key."""
        with writing(self._engine) as connection:
            connection.execute(self._answers.table.delete().where(self._answers.table.c.key == key))
            self._answers.insert(connection, {key: answer})

    def last_row(self) -> int:
        """Number of the ledger's newest row; 0 where there is none."""
        from sqlalchemy import func, select

        with self._engine.connect() as connection:
            return connection.execute(select(func.max(_calls().c.id))).scalar() or 0

    def total(self, *, purpose: str | None = None, after: int = 0) -> LedgerTotal:
        """Sums over the ledger's rows after a number, of one purpose or of all."""
        from sqlalchemy import and_, func, select

        c = _calls().c
        query = select(
            func.count(),
            func.count().filter(c.error != ""),
            func.coalesce(func.sum(c.n_input), 0),
            func.coalesce(func.sum(c.n_output), 0),
            func.coalesce(func.sum(c.usd), 0.0),
            func.count().filter(and_(c.error == "", c.usd.is_(None))),
        ).where(c.id > after)
        if purpose is not None:
            query = query.where(c.purpose == purpose)
        with self._engine.connect() as connection:
            row = connection.execute(query).one()
        return LedgerTotal(
            n_calls=row[0], n_failed=row[1], n_input=row[2], n_output=row[3], usd=float(row[4]), n_unknown=row[5]
        )


@functools.cache
def _calls() -> Table:
    """The ledger as the migrations made it."""
    from sqlalchemy import Column, DateTime, Float, Integer, MetaData, String, Table, Text

    texts = [Column(name, Text) for name in ("url", "model", "purpose", "error")]
    counts = [Column(name, Integer) for name in ("n_attempts", "n_lost", "n_input", "n_output")]
    return Table(
        "endpoint_calls",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("key", String(64)),
        Column("ended_at", DateTime(timezone=True)),
        Column("usd", Float),
        Column("seconds", Float),
        *texts,
        *counts,
    )
