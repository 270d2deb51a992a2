"""Addresses of any home, and what stores say: one line, no password, nothing beside the home."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from harness.errors import ConfigError, UnavailableError
from harness.settings import Settings, sqlite_url
from harness.store.database import open_database, writing
from harness.store.opening import StoreClient
from harness.store.sentences import reason_of, telling

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(name=NAMES.filter(lambda n: n not in (".", "..")))
def test_an_address_names_the_file_whatever_its_path_holds(name: str) -> None:
    file = Path("/homes") / name / "mlflow.db"
    assert make_url(sqlite_url(file)).database == str(file)
    named = Settings.from_environment({"SCREENTEST_HOME": str(file.parent)})
    assert (named.is_sqlite, named.is_own_store) == (True, True)
    assert make_url(named.database_url).database == str(file.with_name("screentest.db"))


@settings(max_examples=6, deadline=None)
@given(name=NAMES.filter(lambda n: n not in (".", "..") and len(n.encode()) < 200))
def test_nothing_is_written_beside_the_home(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("homes")
    open_database(Settings.from_environment({"SCREENTEST_HOME": str(root / name)}).database_url).dispose()
    assert [p.name for p in root.iterdir()] == [name]


def test_a_home_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        Settings.from_environment({"SCREENTEST_HOME": "/tmp/\udcff"})


@settings(max_examples=100, deadline=None)
@given(before=st.text(), user=st.from_regex(r"\w+", fullmatch=True), after=st.text())
def test_a_reason_is_one_short_line_without_the_password(before: str, user: str, after: str) -> None:
    words = f"{before} postgresql://{user}:hunter2@db/x {after}"
    for err in (MlflowException(words), OSError(5, words), UnavailableError(words)):
        said = reason_of(err)
        assert len(said) <= 300
        assert "hunter2" not in said
        assert said.splitlines() in ([said], [])


REFUSED = (
    "API request to http://h failed with exception HTTPConnectionPool(host='h', port=9): Max retries exceeded with "
    "url: /x (Caused by NewConnectionError(\"HTTPConnection(host='h', port=9): Failed to establish a new connection: "
    '[Errno 111] Connection refused"))'
)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (sqlite3.OperationalError("database or disk is full"), None),  # the driver's own never gets past SQLAlchemy
        (MlflowException("(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT]"), "disk is full; free"),
        (MlflowException(REFUSED), "a new connection: [Errno 111] Connection refused; start the server"),
        (MlflowException("code 502 != 200. Response body: '<html><h1>no"), "code 502 != 200"),
        (PermissionError(13, "Permission denied", "/x/y"), "Permission denied (/x/y); give this account"),
    ],
)
def test_what_a_store_says_is_told_with_what_to_do(raised: Any, said: str | None) -> None:
    with pytest.raises(type(raised) if said is None else UnavailableError) as caught, telling("the store"):
        raise raised
    assert said is None or said in str(caught.value)
    assert "SQL:" not in str(caught.value)


def test_an_answer_of_mlflow_is_no_failure_of_the_store() -> None:
    class Inner:
        def get(self, code: int) -> None:
            raise MlflowException("no such run", error_code=code)

    client = StoreClient(Inner(), store="s")
    with pytest.raises(MlflowException):
        client.get(RESOURCE_DOES_NOT_EXIST)
    with pytest.raises(UnavailableError, match="`s` must be a store that answers: no such run"):
        client.get(INTERNAL_ERROR)


@pytest.mark.parametrize("kind", ["another program's", "no database", "a newer schema", "a folder", "below a file"])
def test_a_file_that_is_no_store_of_ratings_is_refused_and_left_as_it_was(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "x.db"
    if kind == "another program's":
        with create_engine(sqlite_url(file)).begin() as connection:
            connection.execute(text("CREATE TABLE users (id INTEGER)"))
    elif kind == "a newer schema":
        engine = open_database(sqlite_url(file))
        with writing(engine) as connection:
            connection.execute(text("UPDATE screentest_version SET version_num = '9999'"))
        engine.dispose()
    elif kind == "a folder":
        file.mkdir()
    else:
        file.write_bytes(b"hello " * 1000)
        file = file / "below.db" if kind == "below a file" else file
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(UnavailableError, match="must be a") as caught:
        open_database(sqlite_url(file))
    assert "\n" not in str(caught.value)
    assert before is None or kind == "a newer schema" or file.read_bytes() == before


def test_a_store_that_breaks_while_it_is_used_is_one_sentence(tmp_path: Path) -> None:
    engine = open_database(sqlite_url(tmp_path / "x.db"))
    with pytest.raises(UnavailableError, match="must be a database that answers: no such table"), writing(engine) as c:
        c.execute(text("INSERT INTO lost VALUES (1)"))
    engine.dispose()
