from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Server, running
from sqlalchemy import Engine

from harness.store.database import open_database


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running() as server:
        open_database(server.fresh()).dispose()  # db1: the migrated template of every test's own
        yield server


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'screentest.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The store on either database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.fresh("db1")
    opened = open_database(url)
    yield opened
    opened.dispose()
    server.drop(url)
