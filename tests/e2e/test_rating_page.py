"""Raters rate by keyboard in real browsers, and what could go wrong does; `test_blindness` has a whole study."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from certain import sure
from e2e.looks import CONTRAST
from e2e.rating_pages import UNREAD, ask_why, await_other, begin, item, notice, opened, press, undo
from panels import a_study
from rating_server import CHROMIUM, Site
from sqlalchemy import Engine, select

from harness.studies.casting import Cast, cast_rating
from harness.studies.items import StudyItem
from harness.studies.rating_rows import read_rows
from harness.studies.sql_schema import ratings
from harness.studies.studies import close_study, renew_link, revoke_link

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"),
    pytest.mark.slow,
]


def n_rows(engine: Engine, slot: str | None = None) -> int:
    with engine.begin() as connection:
        query = select(ratings.c.id)
        return len(connection.execute(query if slot is None else query.where(ratings.c.slot_id == slot)).all())


def test_undo_skip_and_a_refresh_lose_nothing(engine: Engine, site: Site, browser: Browser) -> None:
    created = a_study(engine, name="undo", n_prompts=3, rehearsal=True)
    page = opened(browser, site, created.links[0])
    begin(page)
    first = item(page)
    press(page, "1")
    undo(page, first)
    assert "Taken back" in notice(page)
    press(page, "2")
    second = item(page)
    page.wait_for_timeout(UNREAD)
    page.keyboard.press("1")
    page.keyboard.press("u")  # before the vote has arrived
    page.wait_for_function("() => (document.querySelector('.notice')?.innerText ?? '').includes('Taken back')")
    page.wait_for_function("s => document.querySelector('h1[data-item]')?.dataset.item === s", arg=second)
    ask_why(page)
    page.keyboard.press("1")
    await_other(page, second)
    third = item(page)
    page.reload()
    page.wait_for_selector(".reply")
    assert item(page) == third  # resumed, without the instructions
    elsewhere = opened(browser, site, created.links[0])
    elsewhere.wait_for_selector(".reply")
    assert item(elsewhere) == third
    elsewhere.keyboard.press("s")
    box = elsewhere.get_by_label("Another reason")
    box.fill("12 b")  # keys that vote elsewhere are letters here
    box.press("Enter")
    await_other(elsewhere, third)
    states = {r.slot: (r.state, r.reason) for r in read_rows(engine, created.study)}
    assert states[first][0] == "rated"
    assert states[second] == ("skipped", "I cannot follow this conversation")
    assert states[third] == ("skipped", "12 b")
    assert n_rows(engine, first) == 3  # vote, undo, vote
    for one in (page, elsewhere):
        one.context.close()


def test_a_skip_too_many_is_told_and_the_item_can_be_rated(engine: Engine, site: Site, browser: Browser) -> None:
    page = opened(browser, site, a_study(engine, name="skips", n_prompts=4, rehearsal=True).links[0])
    begin(page)
    for n in range(4):
        before = item(page)
        ask_why(page)
        page.keyboard.press("1")
        if n < 3:
            await_other(page, before)
    assert "as many items as this study allows" in notice(page)
    page.get_by_role("button", name="Reply 1 is better").wait_for()
    press(page, "1")
    assert item(page) == "end"
    page.context.close()


def test_two_tabs_count_an_item_once(engine: Engine, site: Site, browser: Browser) -> None:
    created = a_study(engine, name="tabs", n_prompts=3, rehearsal=True)
    one = opened(browser, site, created.links[0])
    begin(one)
    two = opened(browser, site, created.links[0])
    two.wait_for_selector(".reply")
    first = item(one)
    assert item(two) == first
    press(one, "1")
    press(two, "2")
    assert "kept, once" in notice(two)
    assert n_rows(engine, first) == 1
    assert item(two) == item(one)
    for page in (one, two):
        page.context.close()


def test_a_double_press_and_a_held_key_count_once(engine: Engine, site: Site, browser: Browser) -> None:
    created = a_study(engine, name="double", n_prompts=4, rehearsal=True)
    page = opened(browser, site, created.links[0])
    begin(page)
    first = item(page)
    page.wait_for_timeout(450)
    page.keyboard.press("1")
    page.keyboard.press("1")
    await_other(page, first)
    page.wait_for_timeout(300)
    assert n_rows(engine, first) == 1
    second = item(page)
    page.wait_for_timeout(450)
    page.keyboard.down("2")
    for _ in range(40):  # what a keyboard sends while a key is held
        page.keyboard.down("2")
        page.wait_for_timeout(30)
    page.keyboard.up("2")
    await_other(page, second)
    rated = [r for r in read_rows(engine, created.study) if r.state == "rated"]
    assert {r.slot for r in rated} == {first, second}
    page.context.close()


def test_links_that_lead_nowhere_say_so(engine: Engine, site: Site, browser: Browser) -> None:
    created = a_study(engine, name="links", n_prompts=2, rehearsal=True)
    page = opened(browser, site, None)
    assert "your own link" in page.inner_text("h1[data-item]")
    page.goto(f"{site.url}/?rater=%3Cscript%3Ealert(1)%3C/script%3E")
    page.wait_for_selector("text=your own link")
    revoke_link(engine, created.study, created.links[0].rater)
    page.goto(created.links[0].url(site.url))
    page.wait_for_selector("text=This link was withdrawn")
    fresh = renew_link(engine, created.study, created.links[0].rater)
    page.goto(fresh.url(site.url))
    begin(page)
    first = item(page)
    close_study(engine, created.study.name)
    page.wait_for_timeout(450)
    page.keyboard.press("1")
    page.wait_for_selector("text=This study is closed")
    assert n_rows(engine, first) == 0
    page.goto(created.links[1].url(site.url))
    page.wait_for_selector("text=This study is closed")
    page.context.close()


def test_a_key_pressed_before_its_button_is_drawn_counts(engine: Engine, site: Site, browser: Browser) -> None:
    """Streamlit fetches the code of its buttons when the first is to be drawn: on a slow line, long after the text."""
    created = a_study(engine, name="early", n_prompts=2, rehearsal=True)
    page = opened(browser, site, None)
    held: list[Route] = []
    page.route("**/Button.*.js", lambda route: held.append(route))  # a plain method has no room for playwright
    page.goto(created.links[0].url(site.url))
    page.wait_for_function("() => window.screentestPage?.data?.item === 'guide'")
    page.wait_for_timeout(1000)
    page.keyboard.press("Enter")
    page.wait_for_timeout(1000)
    assert held
    assert not page.locator(".st-key-page button").count()
    for route in held:
        route.continue_()
    page.wait_for_selector(".reply")
    page.context.close()


def test_a_vote_out_of_order_is_told_and_changes_nothing(engine: Engine, site: Site, browser: Browser) -> None:
    """Another tab undoes while this one shows a later item."""
    created = a_study(engine, name="order", n_prompts=3, rehearsal=True)
    link = created.links[0]
    page = opened(browser, site, link)
    begin(page)
    first = item(page)
    press(page, "1")
    later = item(page)
    cast_rating(engine, link.token, Cast(key="from another tab", action="undo"))
    page.wait_for_timeout(450)
    page.keyboard.press("1")
    await_other(page, later)
    assert "behind another one" in notice(page)
    assert item(page) == first
    assert n_rows(engine, later) == 0
    page.context.close()


HOSTILE = (
    "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'><b>bold</b> **stars** "
    "[a](javascript:alert(1))"
    " <style>body{display:none}</style> $x^2$ :red[word] \u202eesrever \u2067sdrawkcab"
)


def test_replies_are_plain_text_whatever_they_hold(
    engine: Engine, site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "word " * 5000
    monkeypatch.setattr("panels.the_items", _items_with({"base": HOSTILE, "sft": long}))
    created = a_study(engine, name="hostile", n_prompts=2, rehearsal=True)
    page = opened(browser, site, created.links[0])
    begin(page)
    texts = page.locator(".reply .text").all_inner_texts()
    hostile, flood = sorted(texts, key=len)
    expected = HOSTILE.replace("\u202e", "").replace("\u2067", "")
    assert hostile == expected
    assert len(flood.split()) == 5000
    assert page.evaluate("window.harmed") is None
    assert page.locator(".reply .text b, .reply .text script, .reply .text img, .reply .text a").count() == 0
    box = page.locator(".reply .text").nth(texts.index(flood)).bounding_box()
    assert box is not None
    assert box["height"] < 500  # it scrolls inside
    page.locator(".reply .text").nth(texts.index(flood)).focus()
    page.keyboard.press("End")
    page.wait_for_function("() => [...document.querySelectorAll('.reply .text')].some(e => e.scrollTop > 1000)")
    press(page, "1")
    page.context.close()


def _items_with(texts: dict[str, str]) -> Callable[..., tuple[StudyItem, ...]]:
    from dataclasses import replace

    from panels import the_items

    from harness.studies.items import ItemReply

    def items(*args: Any, **kwargs: Any) -> tuple[StudyItem, ...]:
        made = the_items(*args, **kwargs)
        return tuple(
            replace(one, replies=tuple(ItemReply(variant=r.variant, text=texts[r.variant]) for r in one.replies))
            for one in made
        )

    return items


@pytest.mark.parametrize(("width", "scheme"), [(1120, "light"), (390, "dark")])
def test_it_fits_has_contrast_and_names_everything(
    engine: Engine, site: Site, browser: Browser, width: int, scheme: str
) -> None:
    created = a_study(engine, name=f"look-{width}-{scheme}", n_prompts=2, practice=True, rehearsal=True)
    page = opened(browser, site, created.links[0], color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    begin(page)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CONTRAST, ".read h1, .read h2, .read span, .text, .said, button:enabled p, kbd") >= 4.5
    cards = [box for i in range(2) if (box := page.locator(".reply").nth(i).bounding_box())]
    is_stacked = cards[1]["y"] > cards[0]["y"]
    assert is_stacked == (width == 390)
    for i in range(4):  # big enough for a thumb: WCAG 2.2, success criterion 2.5.8 asks for 24
        assert sure(page.locator(".st-key-verdicts button").nth(i).bounding_box())["height"] >= 44
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, [tabindex=\"0\"]')].filter(e => e.offsetParent && "
        "!(e.innerText.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML.slice(0, 90))"
    )
    assert unnamed == []
    page.context.close()


def test_a_screen_reader_hears_the_item_and_tab_reaches_every_verdict(
    engine: Engine, site: Site, browser: Browser
) -> None:
    created = a_study(engine, name="heard", n_prompts=2, practice=True, rehearsal=True)
    page = opened(browser, site, created.links[0])
    begin(page)
    said = page.locator("[role=status][aria-live=polite]").filter(has_text="Practice item 1 of 4.")
    said.wait_for(state="attached")
    assert page.evaluate("document.activeElement.dataset.item") == item(page)
    press(page, "1")
    page.locator("[role=status]").filter(has_text="Practice item 2 of 4.").wait_for(state="attached")
    page.wait_for_function("s => document.activeElement.dataset.item === s", arg=item(page))
    reached = _tab_through(page)
    order = [
        "The conversation so far",
        "Reply 1",
        "Reply 2",
        "Reply 1 is better",
        "Reply 2 is better",
        "Equally good",
        "Both bad",
    ]
    assert [name for name in reached if name in order] == order
    before = item(page)
    page.wait_for_timeout(UNREAD)  # tabbing is quick: a press as early as this might not be counted
    page.get_by_role("button", name="Equally good").press("Enter")
    await_other(page, before)
    page.context.close()


def _tab_through(page: Page) -> list[str]:
    names = []
    for _ in range(10):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "(e => e.getAttribute('aria-label') ?? e.querySelector('p')?.innerText ?? e.innerText)"
                "(document.activeElement)"
            )
        )
    return names
