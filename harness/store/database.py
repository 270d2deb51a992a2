"""The SQL store behind `SCREENTEST_DATABASE_URL`: the judge cache and the ratings, one schema, migrated on opening.

SQLite by default, with a write-ahead log so that readers never wait for a writer; PostgreSQL when the address says so.
Tables are made and changed by the numbered migrations under `harness/store/migrations/versions` alone.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UnavailableError
from harness.store.opening import connect, patience
from harness.store.sentences import telling, unavailable

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.engine import ExceptionContext

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "screentest_version"  # MLflow may keep `alembic_version` in the same PostgreSQL database
BUSY_SECONDS = 30

IDLE_SECONDS = 5.0  # a connection out of use for longer is asked whether it lives before it is used
# Few connections, kept open, the last one used first: starting one costs the server a process.
_SQLITE: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}}
_POOL = {"pool_size": 10, "max_overflow": 10, "pool_use_lifo": True}

_migrating = threading.Lock()  # Alembic keeps the current migration in module state


def open_database(url: str) -> Engine:
    """An engine on the store at its newest schema; rows that stand there stay.

    Raises:
        UnavailableError: the address cannot be reached, or its driver is not installed.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        address = make_url(url)
        is_sqlite = address.get_backend_name() == "sqlite"
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if is_sqlite and address.database:
            _require_room(address)
        elif not is_sqlite and address.get_backend_name() != "postgresql":
            raise NoSuchModuleError(address.drivername)
        engine = create_engine(address, **(_SQLITE if is_sqlite else {**_POOL, **patience(address)}))
    except (ArgumentError, NoSuchModuleError) as err:
        raise UnavailableError(
            f"`SCREENTEST_DATABASE_URL` must be an address such as sqlite:///mlruns/screentest.db or "
            f"postgresql://user@host/name, got one that names neither ({type(err).__name__})"
        ) from err
    except ImportError as err:
        raise UnavailableError("PostgreSQL needs its driver: pip install 'screentest[postgres]'") from err
    if is_sqlite:
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _ping_if_idle)
    shown = address.render_as_string(hide_password=True)
    event.listen(engine, "handle_error", functools.partial(_tell, shown))
    with telling(shown, rule="a reachable database"):
        migrate(engine)
    return engine


def _require_room(address: URL) -> None:
    """Make the folder of a file, and refuse another program's before anything in it is changed."""
    from sqlalchemy import inspect

    shown = address.render_as_string()
    with telling(shown, rule="a reachable database"):
        tables = set(inspect(connect(address)).get_table_names())
    if tables and VERSION_TABLE not in tables:
        raise UnavailableError(
            f"`{shown}` must be a reachable database of ratings, got one with another program's tables "
            f"({', '.join(sorted(tables)[:3])}); name another in `SCREENTEST_DATABASE_URL`"
        )


def _tell(shown: str, context: ExceptionContext) -> None:
    """Say a store's error in one sentence; a row that breaks a rule is for the caller to judge.

    Raises:
        UnavailableError: the file, its disk or its server does not do what was asked.
    """
    from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

    err = context.sqlalchemy_exception
    is_trigger = getattr(getattr(err, "orig", None), "sqlstate", None) == "P0001"  # PostgreSQL: our own RAISE
    if isinstance(err, SQLAlchemyError) and not is_trigger and not isinstance(err, DataError | IntegrityError):
        raise unavailable(shown, err, rule="a database that answers") from err


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a revision; concurrent callers wait for each other, in this process and in others."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _migrating, writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(727274)"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write: on SQLite it waits for its turn at the start, never half-way through.

    A deferred transaction that reads first and writes later fails at once when another has written in between, and no
    busy timeout helps. `engine.begin()` remains the way to read.
    """
    with engine.connect().execution_options(is_write=True) as connection, connection.begin():
        yield connection


def _configure_sqlite(connection: Any, record: object) -> None:
    """Per connection: readers beside one writer, foreign keys held, transactions that begin when we say so."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _note_use(connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_if_idle(connection: Any, record: Any, proxy: object) -> None:
    """Meet a server that was restarted by connecting anew, without a round trip before every transaction.

    Raises:
        DisconnectionError: the connection is dead; the pool then makes another.
    """
    from psycopg import OperationalError
    from sqlalchemy.exc import DisconnectionError

    used_at = record.info.get("used_at")
    if used_at is None or time.monotonic() - used_at < IDLE_SECONDS:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except OperationalError as err:
        raise DisconnectionError from err
