"""All that reaches a rater's browser, and all that the server writes down, is searched for what it must not hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from e2e.rating_pages import begin, item, press
from e2e.wire import Wire, forms
from panels import a_study
from rating_server import CHROMIUM, SECRET, Site
from sqlalchemy import Engine, select, update

from harness.studies.items import CHOSEN, REJECTED
from harness.studies.rating_rows import read_rows
from harness.studies.sql_schema import items, ratings, slots
from harness.studies.sql_schema import raters as raters_table
from harness.ui.drawing import inert

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"), pytest.mark.slow]

VARIANTS = ("zebrafinch-base", "quokka-sft-v3")  # names that occur nowhere by chance
N_PROMPTS = 6


def test_nothing_on_the_wire_or_in_the_log_tells_one_variant_from_another(
    engine: Engine, site: Site, browser: Browser
) -> None:
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
    page = browser.new_context().new_page()
    page.set_default_timeout(180_000)
    wire = Wire(page)
    page.goto(link.url(site.url))
    begin(page)
    shown: dict[str, list[bytes]] = {}  # item -> frames while it was on the page
    mark = len(wire.frames)
    for n in range(len(mine)):
        page.wait_for_timeout(300)  # until everything of this item is here
        shown[item(page)], mark = wire.frames[mark:], len(wire.frames)
        press(page, "12b0"[n % 4])
    assert item(page) == "end"
    page.locator("button:enabled", has_text="Undo").wait_for()
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
    told = [row.rating.verdict for row in read_rows(engine, created.study) if row.rating]  # in the rater's order
    assert told == [("left", "right", "both_bad", "tie")[n % 4] for n in range(len(mine) - 1)]  # the last was undone
    _check_that_no_id_links(mine, shown)


def _check_that_no_id_links(mine: Any, shown: dict[str, list[bytes]]) -> None:
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


def test_a_likert_page_is_as_blind(engine: Engine, site: Site, browser: Browser) -> None:
    created = a_study(engine, name="likert", kind="likert", n_prompts=2, variants=VARIANTS, rehearsal=True)
    page = browser.new_context().new_page()
    page.set_default_timeout(180_000)
    wire = Wire(page)
    page.goto(created.links[0].url(site.url))
    begin(page)
    for _ in range(4):
        page.wait_for_timeout(450)
        page.keyboard.press("3")
        page.wait_for_selector(".scale .top")
        press(page, "5")
    assert item(page) == "end"
    marks = [row.rating.marks for row in read_rows(engine, created.study) if row.rating]
    assert [list(given.values()) for given in marks] == [[3, 5]] * 4
    log = site.log.read_bytes()
    blind = wire.everything()
    for text in [f"{v} says {i}" for v in VARIANTS for i in range(2)]:
        assert text.encode() in blind
        blind = blind.replace(text.encode(), b"")
    for name in VARIANTS:
        assert all(form not in blind for form in forms(name))
        assert name.encode() not in log


def test_an_audit_is_rated_by_keyboard_and_never_says_which_reply_was_chosen(
    engine: Engine, site: Site, browser: Browser
) -> None:
    """Each reply as often on either side; who was chosen and who rejected stays on the server."""
    names = (CHOSEN, REJECTED)
    created = a_study(
        engine, name="audit", kind="audit", split="train", n_prompts=4, variants=names, practice=True, rehearsal=True
    )
    with engine.begin() as connection:  # replies that do not say what they are
        texts = {
            row.id: row.replies
            for row in connection.execute(select(items).where(items.c.study_id == created.study.id)).all()
        }
        for item_id, replies in texts.items():
            told = [{**r, "text": f"{['one', 'other'][i]} of {item_id}"} for i, r in enumerate(replies)]
            connection.execute(update(items).where(items.c.id == item_id).values(replies=told))
    page = browser.new_context().new_page()
    page.set_default_timeout(180_000)
    wire = Wire(page)
    page.goto(created.links[0].url(site.url))
    begin(page)
    for _ in range(2 + 4):
        assert page.locator(".reply").count() == 2
        press(page, "1")
    assert item(page) == "end"
    page.context.close()
    log = site.log.read_bytes()
    mine = [
        row for row in read_rows(engine, created.study) if row.kind == "main" and row.rater == created.links[0].rater
    ]
    assert [row.rating.verdict for row in mine if row.rating] == ["left"] * 4
    assert sorted(row.shown[0].variant for row in mine) == [CHOSEN, CHOSEN, REJECTED, REJECTED]  # sides in balance
    traffic = wire.everything()
    assert b"other of" in traffic
    for form in (form for name in names for form in forms(name)):
        assert form not in traffic
    assert not any(name.encode() in log for name in names)
