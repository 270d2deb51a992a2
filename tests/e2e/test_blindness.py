"""All that reaches a rater's browser, and all that the server writes down, is searched for what it must not hold."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from panels import a_study
from rating_pages import begin, item, press
from rating_server import CHROMIUM, SECRET, browsing, serving
from sqlalchemy import select

from harness.database import open_database
from harness.ratings.schema import items, ratings, slots
from harness.ratings.schema import raters as raters_table
from harness.ui.drawing import inert

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"), pytest.mark.slow]

VARIANTS = ("zebrafinch-base", "quokka-sft-v3")  # names that occur nowhere by chance
N_PROMPTS = 6


class Wire:
    """All traffic of a page, as bytes."""

    def __init__(self, page: Page) -> None:
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.frames: list[bytes] = []  # one entry per websocket frame from the server
        page.on("websocket", self._listen)
        page.on("request", lambda r: self.sent.append(f"{r.url} {r.headers} {r.post_data or ''}".encode()))
        page.on("response", self._keep)
        page.on("console", lambda message: self.received.append(message.text.encode()))

    def _listen(self, socket) -> None:  # type: ignore[no-untyped-def]
        self.sent.append(socket.url.encode())
        socket.on("framesent", lambda data: self.sent.append(_bytes(data)))
        socket.on("framereceived", lambda data: (self.frames.append(_bytes(data)), self.received.append(_bytes(data))))

    def _keep(self, response) -> None:  # type: ignore[no-untyped-def]
        self.received.append(f"{response.url} {response.headers}".encode())
        if not re.search(r"/static/(js|css|media)/", response.url):  # Streamlit's own files
            try:
                self.received.append(response.body())
            except Exception as err:  # noqa: BLE001  # a response without body says so by an error of the browser
                self.received.append(str(err).encode())

    def everything(self) -> bytes:
        return b"\n".join(self.received + self.sent)


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def forms(secret: str) -> list[bytes]:
    """How a text may stand in traffic."""
    plain = secret.encode()
    return [plain, plain.hex().encode(), base64.b64encode(plain).rstrip(b"=")]


def test_nothing_on_the_wire_or_in_the_log_tells_one_variant_from_another(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    engine = open_database(url)
    created = a_study(
        engine, name="kakapo-study-file", n_prompts=N_PROMPTS, variants=VARIANTS, practice=True, attention=2,
        repeats=0.5, rehearsal=True,
    )  # fmt: skip
    link = created.links[0]
    with engine.begin() as connection:
        rater = connection.execute(select(raters_table).where(raters_table.c.name == link.rater)).one()
        mine = connection.execute(select(slots, items.c.replies).join(items, items.c.id == slots.c.item_id)
                                  .where(slots.c.rater_id == rater.id)).all()  # fmt: skip
        others = connection.execute(select(slots.c.id).where(slots.c.rater_id != rater.id)).scalars().all()
    with serving(url, tmp_path) as site, browsing() as browser:
        page = browser.new_context().new_page()
        page.set_default_timeout(30_000)
        wire = Wire(page)
        page.goto(link.url(site.url))
        begin(page)
        shown: dict[str, list[bytes]] = {}  # item -> frames while it was on the page
        mark = len(wire.frames)
        for n in range(len(mine)):
            page.wait_for_timeout(300)  # until everything of this item is here
            shown[item(page)], mark = wire.frames[mark:], len(wire.frames)
            press(page, "1" if n % 2 else "2")
        assert item(page) == "end"
        page.keyboard.press("u")
        page.wait_for_selector(".notice")
        page.keyboard.press("h")
        page.wait_for_selector("[data-item=guide]")
        log = site.log.read_bytes()
        page.context.close()
    traffic = wire.everything()
    assert len(shown) == len(mine)
    texts = {inert(r["text"]) for row in mine for r in row.replies}  # as they travel
    assert len(traffic) > 50_000
    assert all(text.encode() in traffic for text in texts), "the search sees frames"
    hidden = {
        *VARIANTS, "human", "shuffled", "practice-0", "attention", "is_flipped", "prompt_id", "film0",
        created.study.name, created.study.declaration, SECRET, "made up for a test", *others,
    }  # fmt: skip
    blind = traffic
    for text in sorted(texts, key=len, reverse=True):  # replies may say anything; what is around them may not
        blind = blind.replace(text.encode(), b"")
    for word in hidden:
        for form in forms(word):
            assert form not in blind, word
    for name in (*VARIANTS, *texts, created.study.name, SECRET, link.token, *(row.id for row in mine)):
        assert name.encode() not in log, name
    assert log.count(b"\n") <= 3, log.decode()
    with engine.begin() as connection:
        stored = connection.execute(select(ratings)).all()
    assert len(stored) == len(mine) + 1
    assert all(row.is_rehearsal for row in stored)
    _check_that_no_id_links(mine, shown)


def _check_that_no_id_links(mine, shown: dict[str, list[bytes]]) -> None:  # type: ignore[no-untyped-def]
    """Ids in the frames of one item: none may come with one variant on the left and never with the other."""
    left = {
        row.id: row.replies[1 if row.is_flipped else 0]["variant"] for row in mine if row.kind in ("main", "repeat")
    }
    words = {slot: set(re.findall(rb"[A-Za-z0-9_-]{8,}", b" ".join(shown[slot]))) for slot in left}
    sides = {name: [slot for slot, variant in left.items() if variant == name] for name in VARIANTS}
    for name, other in (VARIANTS, VARIANTS[::-1]):
        always = set.intersection(*(words[slot] for slot in sides[name]))
        never = set.union(*(words[slot] for slot in sides[other]))
        assert not always - never, f"ids that come whenever {name} stands left, and only then"


def test_a_likert_page_is_as_blind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    engine = open_database(url)
    created = a_study(engine, kind="likert", n_prompts=2, variants=VARIANTS, rehearsal=True)
    with serving(url, tmp_path) as site, browsing() as browser:
        page = browser.new_context().new_page()
        page.set_default_timeout(30_000)
        wire = Wire(page)
        page.goto(created.links[0].url(site.url))
        begin(page)
        for _ in range(4):
            page.wait_for_timeout(450)
            page.keyboard.press("3")
            page.wait_for_selector("button[kind=primary]")
            press(page, "5")
        assert item(page) == "end"
        log = site.log.read_bytes()
    blind = wire.everything()
    for text in [f"{v} says {i}" for v in VARIANTS for i in range(2)]:
        assert text.encode() in blind
        blind = blind.replace(text.encode(), b"")
    for name in VARIANTS:
        assert all(form not in blind for form in forms(name))
        assert name.encode() not in log
