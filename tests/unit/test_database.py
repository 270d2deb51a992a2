"""The store opens, migrates and keeps what is there, however many open it at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from harness.errors import UnavailableError
from harness.store.database import VERSION_TABLE, open_database, writing


def _version(engine: Engine) -> str:
    with engine.begin() as connection:
        return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())


def test_many_processes_worth_of_openings_migrate_once(tmp_path: Path) -> None:
    engines: list[Engine] = []
    url = f"sqlite:///{tmp_path / 'new' / 'store.db'}"
    threads = [threading.Thread(target=lambda: engines.append(open_database(url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({_version(engine) for engine in engines}) == 1
    for engine in engines:
        engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'store.db'}")
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER UNIQUE)"))
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(text("INSERT INTO t VALUES (1), (1)"))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
    engine.dispose()


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'store.db'}")
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (0)"))

    def add() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                x = connection.execute(text("SELECT x FROM t")).scalar_one()
                connection.execute(text("UPDATE t SET x = :x"), {"x": x + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT x FROM t")).scalar_one() == 80
    engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y", "sqlite:////proc/no/such/store.db"])
def test_an_address_that_cannot_be_used_is_one_sentence(url: str) -> None:
    with pytest.raises(UnavailableError, match="must be"):
        open_database(url)


def test_a_restarted_server_is_met_by_connecting_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that rested is asked whether it lives before a rater's vote depends on it."""
    from postgres import running

    with running() as server:
        engine = open_database(server.fresh())
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
        server.restart()
        with pytest.raises(UnavailableError, match="a database that answers"), engine.begin() as connection:
            connection.execute(text("SELECT 1"))  # used a moment ago: taken on trust
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
        server.restart()
        monkeypatch.setattr("harness.store.database.IDLE_SECONDS", 0.0)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        engine.dispose()
