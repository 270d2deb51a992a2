"""The owner plays a scene, compares two variants blind, and sends pairs to raters: in a browser, to the links."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_endpoint import PIECES, Endpoint, speaking
from e2e.looks import CONTRAST
from playwright.sync_api import Page, expect
from rating_server import CHROMIUM, SECRET, browsing, serving

from harness.store.database import open_database
from harness.studies.serving import RatingTask, next_task
from harness.studies.studies import find_study

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"), pytest.mark.slow]

LINE = "".join(PIECES)


def test_pairs_that_were_compared_blind_become_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setenv("SCREENTEST_HOME", str(tmp_path / "home"))
    with speaking() as endpoint:
        monkeypatch.setenv("SCREENTEST_SERVE_URL", endpoint)
        with serving(url, tmp_path, owner=True) as site, browsing() as browser:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.set_default_timeout(180_000)
            page.goto(f"{site.url}/chat")
            _enter(page)
            _begin(page, "Where were you last night?")
            expect(page.locator(".line.answerer")).to_have_text([LINE])
            page.get_by_text("Compare two variants blind").click()
            _say(page, "That is no answer.")
            _send_pair(page)
            page.keyboard.press("1")  # go on with the first: only now is it told who was who
            page.get_by_text("You went on with").wait_for()
            _say(page, "Nobody is ever just out.")
            _send_pair(page)
            page.get_by_text("2 pairs for raters").wait_for()
            assert page.evaluate(CONTRAST, ".read h2, .text, .said, .stMain button:enabled p") >= 4.5
            page.get_by_label("Name of the study").fill("from-the-chat")
            page.get_by_text("Rehearsal: enters no result").click()
            page.get_by_role("button", name="Make the study").click()
            links = page.locator("code", has_text="rater-1").inner_text().split("\n")
            page.set_viewport_size({"width": 390, "height": 844})  # a phone, where the menu is folded
            page.reload()
            _enter(page)
            page.get_by_role("button", name="Expand sidebar").click()
            page.get_by_role("link", name="Results").click()
            page.get_by_role("heading", name="Results").wait_for()
    engine = open_database(url)
    study = find_study(engine, "from-the-chat")
    assert (study.kind, study.design.rehearsal, len(links)) == ("pairwise", True, 3)
    task = next_task(engine, links[0].partition("=")[2].strip())
    assert isinstance(task, RatingTask)
    assert task.progress.n_total == 2 + 2  # practice and pairs
    engine.dispose()
    assert {asked["model"] for asked in Endpoint.asked} == {"base", "film@best"}


def _enter(page: Page) -> None:
    page.get_by_label("The owner's secret").fill(SECRET)
    page.get_by_role("button", name="Open").click()


def _begin(page: Page, line: str) -> None:
    page.get_by_label("You say first").fill(line)
    page.get_by_role("button", name="Begin", exact=True).click()


def _say(page: Page, line: str) -> None:
    page.get_by_placeholder("You say").fill(line)
    page.keyboard.press("Enter")


def _send_pair(page: Page) -> None:
    replies = page.locator(".reply .text")
    expect(replies).to_have_text([LINE, LINE])
    shown = page.locator(".stMain").inner_text()
    assert "film@best" not in shown.partition("Reply 1")[2]  # no name beside a reply
    page.get_by_role("button", name="Send the pair to raters").click()
    page.get_by_text("for raters").wait_for()
