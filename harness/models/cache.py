"""Answer cache and ledger in the SQL store: models' answers by the digest of what was asked, and what calls cost."""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.store.database import writing
from harness.types import JsonObject

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

N_KEYS = 500  # of one query: SQLite takes 32,766 parameters, PostgreSQL plans long lists slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one call to an endpoint cost: a row of the ledger."""

    key: str
    url: str
    model: str
    purpose: str  # the judge's name, or "generate"
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


class AnswerCache:
    """Answers that were paid for, or those that a local model can compute again; and the ledger of calls."""

    def __init__(self, engine: Engine, kind: Literal["endpoint", "local"]) -> None:
        """On an engine of `open_database`, which has made the tables; it is the cache's own from now.

        On SQLite a commit does not wait until the disk has it: a killed process loses nothing, a power cut may lose
        the last answers, which can be asked again. Waiting would hold every call's place for two of them.
        """
        from sqlalchemy import MetaData, Table, event

        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", lambda db, _: db.execute("PRAGMA synchronous=NORMAL"))
            engine.dispose()  # connections made before are not told
        self._engine = engine
        self._answers, self._calls = (
            Table(name, MetaData(), autoload_with=engine) for name in (f"{kind}_answers", "endpoint_calls")
        )

    def read(self, keys: Iterable[str]) -> dict[str, JsonObject]:
        """The stored answers among the keys."""
        from sqlalchemy import bindparam, select

        c = self._answers.c
        query = select(c.key, c.answer).where(c.key.in_(bindparam("keys", expanding=True)))
        wanted = list(dict.fromkeys(keys))
        found: dict[str, JsonObject] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(wanted), N_KEYS):
                rows = connection.execute(query, {"keys": wanted[start : start + N_KEYS]})
                with _uncollected():
                    found |= {key: json.loads(answer) for key, answer in rows}
        return found

    def write(self, answers: Mapping[str, JsonObject], charges: Sequence[Charge] = ()) -> None:
        """Answers and what they cost, in one transaction: neither can stand without the other.

        What stands stays: two processes that ask the same at once both have an answer, and the first counts.
        """
        with writing(self._engine) as connection:
            self._insert(connection, answers)
            if charges:
                rows = [{**asdict(charge), "ended_at": _now()} for charge in charges]
                connection.execute(self._calls.insert(), rows)

    def replace(self, key: str, answer: JsonObject) -> None:
        """Keep what counts now in place of what stood under a key."""
        with writing(self._engine) as connection:
            connection.execute(self._answers.delete().where(self._answers.c.key == key))
            self._insert(connection, {key: answer})

    def mean_bytes(self) -> float | None:
        """Bytes of key and answer, over all that stand; None where none does."""
        from sqlalchemy import func, select

        c = self._answers.c
        with self._engine.connect() as connection:
            mean = connection.execute(select(func.avg(func.length(c.key) + func.length(c.answer)))).scalar()
        return None if mean is None else float(mean)

    def last_row(self) -> int:
        """Number of the ledger's newest row; 0 where there is none."""
        from sqlalchemy import func, select

        with self._engine.connect() as connection:
            return connection.execute(select(func.max(self._calls.c.id))).scalar() or 0

    def total(self, *, after: int = 0) -> LedgerTotal:
        """Sums over the ledger's rows after a number."""
        from sqlalchemy import and_, func, select

        c = self._calls.c
        query = select(
            func.count(),
            func.count().filter(c.error != ""),
            func.coalesce(func.sum(c.n_input), 0),
            func.coalesce(func.sum(c.n_output), 0),
            func.coalesce(func.sum(c.usd), 0.0),
            func.count().filter(and_(c.error == "", c.usd.is_(None))),
        ).where(c.id > after)
        with self._engine.connect() as connection:
            n_calls, n_failed, n_input, n_output, usd, n_unknown = connection.execute(query).one()
        return LedgerTotal(
            n_calls=n_calls, n_failed=n_failed, n_input=n_input, n_output=n_output, usd=float(usd), n_unknown=n_unknown
        )

    def _insert(self, connection: Connection, answers: Mapping[str, JsonObject]) -> None:
        from sqlalchemy.dialects import postgresql, sqlite

        if not answers:
            return
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        rows = [{"key": key, "answer": json.dumps(a), "answered_at": _now()} for key, a in answers.items()]
        connection.execute(dialect.insert(self._answers).on_conflict_do_nothing(index_elements=["key"]), rows)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cyclic collector: JSON has no cycles, and looking for some costs more than reading it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
