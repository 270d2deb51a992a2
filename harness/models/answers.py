"""Answers of models in the SQL store, content-addressed: the digest of all that decides an answer, and the answer."""

from __future__ import annotations

import contextlib
import datetime
import functools
import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from harness.store.database import writing
from harness.types import JsonObject

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

N_KEYS = 500  # of one query: SQLite takes 32,766 parameters, PostgreSQL plans long lists slowly


class AnswerStore:
    """One of the tables of answers."""

    def __init__(self, engine: Engine, table: Literal["endpoint_answers", "local_answers"]) -> None:
        """On an engine of `harness.store.database.open_database`, which has made the tables."""
        self._engine = engine
        self.table = _answers(table)  # as the migrations made it

    def read(self, keys: Iterable[str]) -> dict[str, JsonObject]:
        """The stored answers among the keys."""
        from sqlalchemy import bindparam, select

        c = self.table.c
        query = select(c.key, c.answer).where(c.key.in_(bindparam("keys", expanding=True)))
        wanted = list(dict.fromkeys(keys))
        found: dict[str, JsonObject] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(wanted), N_KEYS):
                rows = connection.execute(query, {"keys": wanted[start : start + N_KEYS]})
                with _uncollected():
                    found |= {key: json.loads(answer) for key, answer in rows}
        return found

    def write(self, answers: Mapping[str, JsonObject]) -> None:
        """Keep answers, all or none of them."""
        with writing(self._engine) as connection:
            self.insert(connection, answers)

    def insert(self, connection: Connection, answers: Mapping[str, JsonObject]) -> None:
        """Keep answers in a transaction that is under way. What stands stays: two processes that ask the same at once
        both have an answer, and the first counts."""
        from sqlalchemy.dialects import postgresql, sqlite

        if not answers:
            return
        now = datetime.datetime.now(datetime.UTC)
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        rows = [{"key": key, "answer": json.dumps(a), "answered_at": now} for key, a in answers.items()]
        connection.execute(dialect.insert(self.table).on_conflict_do_nothing(index_elements=["key"]), rows)

    def mean_bytes(self) -> float | None:
        """Bytes of key and answer, over all that stand; None where none does."""
        from sqlalchemy import func, select

        c = self.table.c
        with self._engine.connect() as connection:
            mean = connection.execute(select(func.avg(func.length(c.key) + func.length(c.answer)))).scalar()
        return None if mean is None else float(mean)


def commit_to_system(engine: Engine) -> None:
    """On SQLite, do not wait at a commit until the disk has it: a killed process loses nothing, a power cut may lose
    the last answers, which can be asked again. The engine is the caller's own from now."""
    if engine.dialect.name == "sqlite":
        from sqlalchemy import event

        event.listen(engine, "connect", _set_normal)
        engine.dispose()  # connections made before are not told


def _set_normal(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


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


@functools.cache
def _answers(name: str) -> Table:
    """The table as the migrations made it."""
    from sqlalchemy import Column, DateTime, MetaData, String, Table, Text

    return Table(
        name,
        MetaData(),
        Column("key", String(64), primary_key=True),
        Column("answer", Text),
        Column("answered_at", DateTime(timezone=True)),
    )
