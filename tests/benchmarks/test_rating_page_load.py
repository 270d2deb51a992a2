"""Fifty raters at once, eight of them in real browsers; server and threads killed with -9 five times in between.

`pytest tests/benchmarks/test_rating_page_load.py -s` prints the time from a key press to the next item on the page. It
takes about three and a half minutes a database: a rater votes every two to five seconds, as people do.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import load
import numpy as np
import pytest
from panels import a_study
from postgres import running
from rating_server import CHROMIUM, Site, browsing, free_port
from sqlalchemy import Engine, select

from harness.store.database import open_database
from harness.studies.links import Link
from harness.studies.sql_schema import ratings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium")]

RATERS, BROWSERS = 50, 8
PROMPTS = int(os.environ.get("SCREENTEST_LOAD_PROMPTS", "40"))  # 50 raters × 40 = 2,000 votes
PACE = 3.5  # seconds
N_KILLS = 5
LIMIT = 300  # milliseconds from key press to next item, 95 % of the time

# Notes when a key went down and when another item stood on the page; listens before the page, which keeps its presses.
STOPWATCH = """() => { window.told = []; let pressed = null;
  const item = () => document.querySelector('h1[data-item]')?.dataset.item;
  let shown = item();
  addEventListener('keydown', () => {
    pressed = { slot: item(), at: performance.now(), wall: Date.now() / 1000 }; }, true);
  new MutationObserver(() => { const now = item();
    if (!now || now === shown) return;
    if (pressed && pressed.slot === shown)
      window.told.push({ slot: shown, wall: pressed.wall, ms: performance.now() - pressed.at });
    shown = now; pressed = null;
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-item'] }); }"""
TOLD = "() => ({ told: window.told, item: document.querySelector('h1[data-item]')?.dataset.item ?? '' })"


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


@dataclass(slots=True)
class Reader:
    """A rater in a browser."""

    page: Page
    chance: random.Random
    due: float = 0.0
    told: list[dict[str, float | str]] = field(default_factory=list)
    is_done: bool = False

    def act(self) -> None:
        """Press a key when it is time, and note what the page acknowledged."""
        if self.is_done or time.monotonic() < self.due:
            return
        state = self.page.evaluate(TOLD)
        self.told, self.is_done = state["told"], state["item"] == "end"
        if not self.is_done:
            self.page.keyboard.press(self.chance.choice("120"))
        self.due = time.monotonic() + PACE * self.chance.uniform(4 / 7, 10 / 7)


def seated(browser: Browser, site: Site, links: list[Link]) -> list[Reader]:
    readers = []
    for number, link in enumerate(links):
        page = browser.new_context().new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(f"({STOPWATCH})()")
        page.goto(link.url(site.url))
        page.wait_for_selector("[data-item=guide]")
        page.get_by_role("button", name="Begin").click()
        page.wait_for_selector(".reply")
        readers.append(Reader(page=page, chance=random.Random(number), due=time.monotonic() + number * PACE / BROWSERS))
    return readers


def threads_of(url: str, links: list[Link], folder: Path) -> subprocess.Popen[bytes]:
    listed = folder / "tokens.json"
    listed.write_text(json.dumps([link.token for link in links]))
    command = [sys.executable, load.__file__, url, str(listed), str(folder / "acks.jsonl"), str(PACE)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment)


def test_fifty_raters_in_pages_and_threads(store: Engine, tmp_path: Path) -> None:
    created = a_study(store, n_prompts=PROMPTS, panel={"raters": RATERS}, rehearsal=True)
    url = store.url.render_as_string(hide_password=False)
    acks = tmp_path / "acks.jsonl"
    acks.touch()
    site = Site(database_url=url, log=tmp_path / "log", port=free_port())
    site.start()
    goals = [RATERS * PROMPTS * (k + 1) // (N_KILLS + 1) for k in range(N_KILLS)]
    outages: list[tuple[float, float]] = []
    with browsing() as browser:
        threads = threads_of(url, list(created.links[BROWSERS:]), tmp_path)
        readers = seated(browser, site, list(created.links[:BROWSERS]))
        until = time.monotonic() + 60 + 3 * PROMPTS * PACE
        while not (all(r.is_done for r in readers) and threads.poll() is not None):
            assert time.monotonic() < until, "raters were left waiting"
            for reader in readers:
                reader.act()
            n_told = acks.read_bytes().count(b"\n") + sum(len(r.told) for r in readers)
            if len(outages) < N_KILLS and n_told >= goals[len(outages)]:
                outages.append(_power_cut(site, threads))
                threads = threads_of(url, list(created.links[BROWSERS:]), tmp_path)
            time.sleep(0.02)
        told = [row for reader in readers for row in reader.page.evaluate(TOLD)["told"]]
    site.kill()
    assert threads.returncode == 0
    _check(store, acks, told, outages)


def _power_cut(site: Site, threads: subprocess.Popen[bytes]) -> tuple[float, float]:
    began = time.time()
    threads.send_signal(signal.SIGKILL)
    site.kill()
    threads.wait()
    site.start()
    return began, time.time()


def _check(store: Engine, acks: Path, told: list[dict[str, float]], outages: list[tuple[float, float]]) -> None:
    with store.begin() as connection:
        stored = connection.execute(select(ratings.c.key, ratings.c.slot_id, ratings.c.is_rehearsal)).all()
    rows = [json.loads(line) for line in acks.read_text().splitlines()]
    assert len({row.slot_id for row in stored}) == len(stored) == RATERS * PROMPTS
    assert {row["key"] for row in rows} <= {row.key for row in stored}
    assert {row["slot"] for row in told} <= {row.slot_id for row in stored}
    assert len(outages) == N_KILLS
    assert all(row.is_rehearsal for row in stored)
    reconnect = 5.0  # seconds in which a browser finds the server again
    calm = [r["ms"] for r in told if not any(a - 1 < r["wall"] < b + reconnect for a, b in outages)]
    half, most, worst = np.quantile(calm, [0.5, 0.95, 1.0])
    down = sum(b - a for a, b in outages) / len(outages)
    print(
        f"\n{store.dialect.name}: {len(stored)} votes of {RATERS} raters, {BROWSERS} in browsers; {N_KILLS} kills, "
        f"down {down:.1f} s each; {len(rows) + len(told)} acknowledged, each there once. Key press to next item, "
        f"{len(calm)} of {len(told)} presses (the others while the server was down): median {half:.0f} ms, "
        f"p95 {most:.0f} ms, worst {worst:.0f} ms"
    )
    assert most < LIMIT
