"""What the tests of the rating page share: a site for a module, a page for a rater, and how a rater acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rating_server import Site

from harness.studies.links import Link

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HEARS = """key => [...document.querySelectorAll('.st-key-page [class*=st-key-do-] button:enabled kbd')]
    .some(e => e.textContent.trim().toLowerCase() === key)"""
UNREAD = 450  # milliseconds after which a press counts


def opened(browser: Browser, site: Site, link: Link | None, **options: Any) -> Page:
    """A browser of its own: no cookie and no storage is shared with another rater's."""
    page = browser.new_context(viewport={"width": 1120, "height": 860}, **options).new_page()
    page.set_default_timeout(180_000)
    page.goto(link.url(site.url) if link else site.url)
    page.wait_for_selector("h1[data-item]")
    return page


def begin(page: Page) -> None:
    """From the instructions to the first item, by keyboard."""
    page.wait_for_selector("[data-item=guide]")
    page.wait_for_function("() => window.screentestPage?.data?.item === 'guide'")  # it listens
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply")


def item(page: Page) -> str:
    """The item at hand."""
    return str(page.locator("h1[data-item]").get_attribute("data-item"))


def await_other(page: Page, before: str) -> None:
    """Until another item, or the end, is on the page."""
    page.wait_for_function("s => (document.querySelector('h1[data-item]')?.dataset.item ?? s) !== s", arg=before)


def ask_why(page: Page) -> None:
    """Ask to skip, and read the reasons: a press before that does not count."""
    page.keyboard.press("s")
    page.get_by_role("button", name="I cannot follow this conversation").wait_for()
    page.wait_for_timeout(UNREAD)


def press(page: Page, key: str) -> None:
    """Read, press a key, and wait for what comes next; the press is sent at once, and not by being sent again."""
    before = item(page)
    page.wait_for_timeout(UNREAD)
    page.wait_for_function(HEARS, arg=key)
    page.evaluate("document.addEventListener('click', () => { window.sent = (window.sent ?? 0) + 1; }, true)")
    page.keyboard.press(key)
    assert page.evaluate("window.sent") > 0, "the press is kept, and was not sent"
    page.evaluate("window.sent = 0")
    await_other(page, before)


def undo(page: Page, back_to: str) -> None:
    """Go back to the item before."""
    page.keyboard.press("u")
    page.wait_for_function("s => document.querySelector('h1[data-item]')?.dataset.item === s", arg=back_to)


def notice(page: Page) -> str:
    """What the page tells the rater."""
    page.wait_for_selector(".notice")
    return page.locator(".notice").inner_text()
