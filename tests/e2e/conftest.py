"""A store, the rating site on it and a browser, for each file that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rating_server import Site, browsing, serving
from sqlalchemy import Engine

from harness.store.database import open_database

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{folder / 'store.db'}")
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def site(engine: Engine, folder: Path) -> Iterator[Site]:
    with serving(f"sqlite:///{folder / 'store.db'}", folder) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as chromium:
        yield chromium
