"""The page in a real browser: nothing overflows a phone, nothing runs, nothing is fetched, every section is seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e.looks import CONTRAST
from report_example import example_record

from harness.reporting.record import Sample
from harness.reporting.render import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium")

# Elements that reach beyond the window, except inside what scrolls by itself.
OVERFLOWING = """() => [...document.querySelectorAll('main *')].filter(e => {
  if (e.closest('.scroll, pre, nav ul, .skip, thead') && !e.matches('.scroll')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))"""

SMALLEST_TEXT = """() => Math.min(...[...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width)
  .flatMap(s => { const k = s.getBoundingClientRect().width / s.viewBox.baseVal.width;
    return [...s.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize) * k); }))"""

OUTSIDE_THEIR_PICTURE = """() => [...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width)
  .flatMap(s => { const b = s.getBoundingClientRect();
    return [...s.querySelectorAll('text')].filter(t => { const r = t.getBoundingClientRect();
      return r.right > b.right + 1 || r.left < b.left - 1; }).map(t => t.textContent); })"""


TEXT = "p, dt, dd, th, td, a, code, .badge, .detail, figcaption, summary, h4"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(example_record(), tmp_path_factory.mktemp("report")).html


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms more, each with a reply of its own to every prompt."""
    record = example_record()
    last = record.variants[-1]

    def with_more(sample: Sample) -> Sample:
        said = sample.replies[-1]
        more = [replace(said, variant=name, text=f"{said.text} So says {name}.") for name in ("neftune", "chosen-sft")]
        return replace(sample, replies=(*sample.replies, *more))

    wider = replace(
        record,
        samples=tuple(map(with_more, record.samples)),
        variants=(*record.variants, replace(last, name="neftune"), replace(last, name="chosen-sft")),
    )
    return write_report(wider, tmp_path_factory.mktemp("ablation")).html


def opened(browser: Browser, report: Path, *, width: int, scheme: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(report.as_uri())
    return page


@pytest.mark.parametrize(("width", "height", "screens"), [(1280, 900, 4), (390, 844, 7)])
def test_the_first_screen_holds_question_answer_and_picture(
    browser: Browser, report: Path, width: int, height: int, screens: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(report.as_uri())
    for shown in ("h1", ".answer", "header figure svg >> visible=true"):
        box = page.locator(shown).first.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 900
    assert page.evaluate("document.documentElement.scrollHeight") <= screens * height
    page.check("#show-all")
    assert page.locator("#config pre").bounding_box()["height"] > 50  # type: ignore[index]
    page.close()


@pytest.mark.parametrize(("width", "height", "screens"), [(1280, 900, 4), (390, 844, 7)])
def test_of_many_replies_to_a_prompt_those_of_its_contrast_stand_open(
    browser: Browser, ablation: Path, width: int, height: int, screens: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(ablation.as_uri())
    shown = page.locator(".sample[open] >> nth=0")
    assert shown.locator(".take >> visible=true").count() == 3  # what people wrote, and the two
    assert page.evaluate("document.documentElement.scrollHeight") <= screens * height
    shown.locator(".others summary").click()
    assert shown.get_by_text("So says neftune.").is_visible()
    page.close()


@pytest.mark.parametrize("width", [320, 375, 760, 761, 1280])
def test_nothing_overflows(browser: Browser, report: Path, width: int) -> None:
    page = opened(browser, report, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []
    page.close()


@pytest.mark.parametrize("width", [375, 1280])
def test_words_in_pictures_can_be_read_and_stay_inside(browser: Browser, report: Path, width: int) -> None:
    page = opened(browser, report, width=width)
    assert page.evaluate(SMALLEST_TEXT) >= 11
    assert page.evaluate(OUTSIDE_THEIR_PICTURE) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Browser, report: Path, scheme: str) -> None:
    page = opened(browser, report, width=1280, scheme=scheme)
    assert page.evaluate(CONTRAST, TEXT) >= 4.5  # WCAG 2.2, success criterion 1.4.3
    page.close()


def test_nothing_is_fetched_run_or_refused(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(report.as_uri())
    page.wait_for_timeout(200)
    assert requests == [report.as_uri()]
    assert complaints == []
    page.close()


def test_a_number_leads_to_its_source(browser: Browser, report: Path) -> None:
    page = opened(browser, report, width=1280)
    page.click("header .scroll a >> nth=0")
    row = page.locator("tr:target")
    assert row.count() == 1
    assert row.is_visible()
    assert "screentest trace" in row.inner_text()
    assert row.bounding_box()["y"] >= page.locator("nav").bounding_box()["height"]  # type: ignore[index]
    page.close()


def test_a_phone_shows_the_narrow_pictures_only(browser: Browser, report: Path) -> None:
    for width, shown, hidden in ((375, ".narrow", ".wide"), (1280, ".wide", ".narrow")):
        page = opened(browser, report, width=width)
        assert page.locator(f"{shown} svg").first.is_visible()
        assert not page.locator(f"{hidden} svg").first.is_visible()
        page.close()


def test_print_shows_what_is_folded(browser: Browser, report: Path) -> None:
    page = opened(browser, report, width=1280)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("#config pre").bounding_box()["height"] > 50  # type: ignore[index]
    page.close()
