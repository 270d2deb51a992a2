"""Fifty raters at their usual pace, 2,000 votes, the server killed with -9 five times: nothing lost, nothing twice.

`pytest tests/benchmarks/test_rating_load.py -s` prints the time from a vote to the next item. Takes three minutes a
database: a rater votes every two to five seconds, as people do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from load import run_with_kills
from panels import a_study
from postgres import running
from sqlalchemy import Engine, select

from harness.store.database import open_database
from harness.studies.sql_schema import ratings

pytestmark = pytest.mark.slow

RATERS, PROMPTS = 50, 40
PACE = 3.5  # seconds
KILLS = [300, 650, 1000, 1350, 1700]  # acknowledged votes
LIMIT = 0.300  # seconds from a vote to the next item, 95 % of the time


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = open_database(f"sqlite:///{tmp_path / 'store.db'}")
        yield engine
        engine.dispose()
        return
    with running() as server:
        engine = open_database(server.fresh())
        yield engine
        engine.dispose()


def test_two_thousand_votes_of_fifty_raters(store: Engine, tmp_path: Path) -> None:
    created = a_study(store, n_prompts=PROMPTS, panel={"raters": RATERS})
    url = store.url.render_as_string(hide_password=False)
    tokens = [link.token for link in created.links]
    told = run_with_kills(url, tokens, tmp_path, pace=PACE, kill_after=KILLS)
    with store.begin() as connection:
        stored = connection.execute(select(ratings.c.key, ratings.c.slot_id)).all()
    assert len({row.slot_id for row in stored}) == len(stored) == RATERS * PROMPTS
    assert set(told.keys) <= {row.key for row in stored}
    half, most, worst = np.quantile(told.seconds, [0.5, 0.95, 1.0])
    print(
        f"\n{store.dialect.name}: {len(stored)} votes of {RATERS} raters, {len(KILLS)} kills, {len(told.keys)} "
        f"acknowledged; vote to next item: median {half * 1000:.0f} ms, p95 {most * 1000:.0f} ms, "
        f"worst {worst * 1000:.0f} ms"
    )
    assert most < LIMIT
