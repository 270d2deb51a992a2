"""Opening MLflow's store: made once under a lock, refused within seconds where it is no store of ours.

MLflow alone retries an address that leads nowhere for minutes, adds its tables to whatever database it is pointed at,
and lets two first starts break each other's migrations. So the address is tried here before MLflow sees it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from harness.errors import UnavailableError
from harness.settings import Settings, sqlite_url
from harness.store.fetching import local_folder, locked
from harness.store.sentences import telling

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

CONNECT_SECONDS = 5
_MARKS = {"experiments", "alembic_version"}  # the first and the last that MLflow makes
MAKING_LOCK = 727275  # PostgreSQL's advisory lock while MLflow makes its tables; 727274 is our own migrations'
_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    # Or MLflow fetches from the bucket itself, to which a machine may have no route; who has one may say `true`.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    # A server that went away is met again for some seconds, not for MLflow's four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_WHILE_OPENING = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def open_mlflow(settings: Settings) -> StoreClient:
    """MLflow's client on the store that the settings name; the store is made where there is none.

    Raises:
        UnavailableError: the address leads nowhere, to another program's data, or to another MLflow's schema.
    """
    uri = settings.tracking_uri
    is_sql = uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)
    with telling(settings.store_name, rule="a reachable MLflow store"), _impatient():
        settings.home.mkdir(parents=True, exist_ok=True)
        _quieten()
        import mlflow

        with _ready(settings) if is_sql else contextlib.nullcontext():
            client = mlflow.MlflowClient(uri)
            client.search_experiments(max_results=1)
    return StoreClient(client, store=settings.store_name)


@contextlib.contextmanager
def _ready(settings: Settings) -> Iterator[None]:
    """A database that MLflow may open; the lock is held for as long as it has tables to make."""
    engine = connect(settings.tracking_uri)
    try:
        is_new = not _stands(engine)
        with _making(engine, settings) if is_new else contextlib.nullcontext():
            _require_ours(engine, settings.store_name)
            if settings.is_own_store and not is_new:
                move_in(engine, settings.home)
            yield
    finally:
        engine.dispose()


@contextlib.contextmanager
def _making(engine: Engine, settings: Settings) -> Iterator[None]:
    """Let one process at a time make the tables; SQLite's file stands whole before MLflow opens it."""
    from sqlalchemy import text

    if (file := _file_of(engine.url)) is not None:
        _make_file(file, settings)
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect() as connection:  # who loses this connection loses the lock
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MAKING_LOCK})
        yield


def connect(url: str | URL) -> Engine:
    """An engine of its own on an address that answers within seconds; the file of SQLite is not made for it.

    Raises:
        UnavailableError: SQLite's file lies where no folder can be made. What SQLAlchemy raises passes.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    address = make_url(url)
    if (file := _file_of(address)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    return create_engine(address, poolclass=NullPool, **patience(address))


def patience(address: URL) -> dict[str, Any]:
    """Options of an engine: seconds instead of minutes to find that no server answers, unless the address says more."""
    is_own = address.get_backend_name() == "postgresql" and "connect_timeout" not in address.query
    return {"connect_args": {"connect_timeout": CONNECT_SECONDS}} if is_own else {}


def _file_of(address: URL) -> Path | None:
    """The file of SQLite's own; None for a server, for memory, and for SQLite's `file:` form."""
    is_file = address.get_backend_name() == "sqlite" and not (address.database or ":").startswith((":", "file:"))
    return Path(str(address.database)) if is_file else None


def _stands(engine: Engine) -> bool:
    """Whether MLflow's tables are made, to the experiment that it makes last."""
    from sqlalchemy import inspect, text

    if not set(inspect(engine).get_table_names()) >= _MARKS:
        return False
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM experiments")).scalar_one())


def _require_ours(engine: Engine, store: str) -> None:
    """Refuse another program's tables and another MLflow's schema before MLflow adds to them."""
    from sqlalchemy import inspect, text

    tables = set(inspect(engine).get_table_names())
    if tables >= _MARKS:
        with engine.connect() as connection:
            _require_schema(connection.execute(text("SELECT version_num FROM alembic_version")).scalar(), store)
    elif tables if engine.dialect.name == "sqlite" else tables & _MARKS:
        raise UnavailableError(
            f"`{store}` must be a reachable MLflow store, got a database with another program's tables "
            f"({', '.join(sorted(tables)[:3])}); name another in `MLFLOW_TRACKING_URI`"
        )


def _require_schema(found: str | None, store: str) -> None:
    import mlflow
    from mlflow.store.db.utils import _get_latest_schema_revision  # MLflow says it nowhere else

    if found == _get_latest_schema_revision():
        return
    versions = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    is_older = found is not None and any(versions.glob(f"{found}_*.py"))
    advice = (
        f"of an older MLflow; copy the database, then run `mlflow db upgrade {shlex.quote(store)}`"
        if is_older
        else f"that MLflow {mlflow.__version__} does not know; use the MLflow that wrote it, or name another store"
    )
    raise UnavailableError(f"`{store}` must be a reachable MLflow store, got one with the schema {found} {advice}")


def _make_file(file: Path, settings: Settings) -> None:
    """Make MLflow's SQLite file beside its place and move it there whole: no kill leaves half a schema behind."""
    with locked(file.with_name(f"{file.name}.lock")):
        if file.exists() and file.stat().st_size > 0:
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        partial = file.with_name(f"{file.name}.part")
        partial.unlink(missing_ok=True)
        made: Any = SqlAlchemyStore(sqlite_url(partial), settings.artifacts.as_uri())
        made.engine.dispose()
        partial.replace(file)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """MLflow's patience with a server while it is opened, where the user has set none."""
    ours = {n: value for n, value in _WHILE_OPENING.items() if os.environ.get(n) in (None, _ALWAYS.get(n))}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
            if name in _ALWAYS:
                os.environ[name] = _ALWAYS[name]


def _quieten() -> None:
    """MLflow and Alembic narrate the making of a store, and print the errors that are told in a sentence here."""
    for name in ("alembic", "mlflow.tracking", "mlflow.tracing", "mlflow.models", "mlflow.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class StoreClient:
    """`MlflowClient` of one store; see `harness.store.sentences.telling` for what its methods raise."""

    def __init__(self, client: Any, *, store: str) -> None:
        self._client = client
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def told(*arguments: Any, **named: Any) -> Any:
            with telling(self._store, passes_answers=True):
                return found(*arguments, **named)

        return told


_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def move_in(engine: Engine, home: Path) -> None:
    """Rewrite the addresses of artifacts that lie in another home to where they lie in this one."""
    with engine.connect() as connection:
        if not _elsewhere(connection, home):
            return
    with engine.begin() as connection:
        for there, here in _elsewhere(connection, home).items():
            _rewrite(connection, there, here)


def _elsewhere(connection: Connection, home: Path) -> dict[str, str]:
    """Where experiments of another home say that they lie → where they lie in this one."""
    from sqlalchemy import text

    found = {}
    for number, name, location in connection.execute(
        text("SELECT experiment_id, name, artifact_location FROM experiments")
    ):
        old = local_folder(str(location))
        if old is None or old.name not in (name, str(number)):
            continue  # in a bucket, or in a folder that somebody chose
        new = home / "artifacts" / old.name if old.parent.name == "artifacts" else home / old.name
        is_moved = new.resolve() != old.resolve()  # or the same folder by another way
        if is_moved and (new.is_dir() or not old.exists()):
            found[location] = new.as_uri() if urlparse(location).scheme else str(new)
    return found


def _rewrite(connection: Connection, there: str, here: str) -> None:
    from sqlalchemy import text

    for table, column in _ADDRESSES:
        connection.execute(
            text(
                f"UPDATE {table} SET {column} = :here || substr({column}, :n + 1) "
                f"WHERE {column} = :there OR substr({column}, 1, :n + 1) = :there || '/'"
            ),
            {"here": here, "there": there, "n": len(there)},
        )
