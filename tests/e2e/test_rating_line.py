"""The line drops, the server dies, the window is small: presses arrive once, replies stay in view, nothing leaks."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from certain import sure
from e2e.looks import passes_axe
from e2e.rating_pages import UNREAD, await_other, begin, item, opened, press
from e2e.wire import Wire
from lines import line_to
from panels import CRITERIA, a_study
from rating_server import CHROMIUM, browsing, serving
from sqlalchemy import select

from harness.store.database import open_database
from harness.studies.rating_rows import read_rows
from harness.studies.sql_schema import ratings

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"), pytest.mark.slow]

VISIBLE = """() => { const seen = e => { const r = e.getBoundingClientRect(); const x = r.left + r.width / 2;
    for (let y = Math.max(r.top, 0) + 2; y < Math.min(r.bottom, innerHeight); y += 4)
      if (e.contains(document.elementFromPoint(x, y)) || document.elementFromPoint(x, y)?.contains(e)) return true;
    return false; };
  const main = document.querySelector('[data-testid=stMain]');
  const bad = [];
  for (let y = 0; y <= main.scrollHeight; y += 40) { main.scrollTo(0, y);
    const votes = [...document.querySelectorAll('.st-key-verdicts button')].some(seen);
    const replies = [...document.querySelectorAll('.reply .text')].some(seen);
    if (votes && !replies) bad.push(y); }
  return bad; }"""


def test_three_raters_on_a_line_that_drops_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    engine = open_database(url)
    created = a_study(engine, n_prompts=4, rehearsal=True)
    with serving(url, tmp_path) as site, browsing() as browser, line_to(site.port) as line:
        site.public = f"http://localhost:{line.port}"
        pages = [opened(browser, site, link) for link in created.links]
        for page in pages:
            begin(page)
        for n in range(4):
            before = [item(page) for page in pages]
            pages[0].wait_for_timeout(UNREAD)
            if n in (1, 2):
                line.cut()
                pages[0].wait_for_timeout(700)
            if n == 2:  # the server goes as well, and comes back knowing nothing
                site.kill()
            for page in pages:
                page.keyboard.press("1")
                if n in (1, 2):
                    page.wait_for_selector("#line >> text=is kept here")
                    assert page.locator("[role=dialog]:visible").count() == 0
                    assert "Streamlit" not in page.inner_text("body")
            if n == 2:
                site.public = None
                site.start()
                site.public = f"http://localhost:{line.port}"
            line.mend()
            for page, item_before in zip(pages, before, strict=True):
                page.set_default_timeout(180_000)
                await_other(page, item_before)
        assert [item(page) for page in pages] == ["end"] * 3
        assert all("What it was for" in page.inner_text("body") for page in pages)
    rows = read_rows(engine, created.study)
    assert {row.state for row in rows} == {"rated"}
    with engine.begin() as connection:
        assert len(connection.execute(select(ratings.c.id)).all()) == 12
    engine.dispose()


def test_pages_fit_small_windows_pass_axe_and_tell_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    engine = open_database(url)
    pair = a_study(engine, name="pair", n_prompts=3, practice=True, rehearsal=True, comments=True)
    marks = a_study(engine, name="marks", kind="likert", n_prompts=1, variants=("base",), rehearsal=True)
    with serving(url, tmp_path) as site, browsing() as browser:
        page = browser.new_context(viewport={"width": 1120, "height": 860}).new_page()
        page.set_default_timeout(180_000)
        wire = Wire(page)
        answer = page.goto(pair.links[0].url(site.url))
        page.wait_for_selector("h1[data-item]")
        assert pair.links[0].token not in page.url
        assert pair.links[0].token not in page.evaluate("document.cookie")
        told = sure(answer).headers
        assert "frame-ancestors 'none'" in told["content-security-policy"]
        assert told["referrer-policy"] == "no-referrer"
        passes_axe(page)
        begin(page)
        passes_axe(page)
        for width, height in ((740, 360), (640, 430), (320, 256), (320, 640), (390, 844), (1120, 860), (1280, 640)):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate(VISIBLE) == [], (width, height)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size({"width": 1120, "height": 860})
        page.get_by_label("Why? (if you like)").fill("It sounds like her.")
        page.get_by_label("Why? (if you like)").press("Enter")
        page.wait_for_timeout(UNREAD)
        before = item(page)
        page.get_by_role("button", name="Reply 1 is better").click()  # keys are letters while one types
        await_other(page, before)
        page.keyboard.press("s")
        page.get_by_role("button", name="I cannot follow this conversation").wait_for()
        passes_axe(page)
        page.goto(marks.links[0].url(site.url))  # in the same browser: a session of its own
        begin(page)
        passes_axe(page)
        page.wait_for_timeout(UNREAD)
        page.keyboard.press("4")
        page.wait_for_selector(f".scale >> text={CRITERIA[0].name.capitalize()} 4")
        assert page.get_by_role("button", name=f"{CRITERIA[0].name} 4").count() == 0  # one criterion in view
        page.reload()  # the mark is given again by the page itself
        page.wait_for_selector(f".scale >> text={CRITERIA[0].name.capitalize()} 4")
        press(page, "2")
        assert item(page) == "end"
        passes_axe(page)
        page.keyboard.press("u")
        page.wait_for_selector(f".scale >> text={CRITERIA[0].name.capitalize()} 4")
        page.goto(site.url)
        page.wait_for_selector("text=your own link")
        passes_axe(page)
        for path in ("metrics", "agent/openapi.json", "script-health-check"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{site.url}/_stcore/{path}")
        page.context.close()
    assert str(Path(__file__).resolve().parents[2]).encode() not in b"\n".join(wire.received)
    comments = [row.comment for row in read_rows(engine, pair.study) if row.comment]
    assert comments == ["It sounds like her."]
    (row,) = (r for r in read_rows(engine, marks.study) if r.rater == marks.links[0].rater)
    assert row.rating is None  # taken back
    engine.dispose()
