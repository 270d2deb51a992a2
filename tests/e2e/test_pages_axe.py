"""axe-core finds nothing on the owner's pages and on what raters see beside votes and marks, light and dark."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chat_endpoint import speaking
from e2e.looks import passes_axe
from e2e.rating_pages import begin, press
from panels import Clock, a_study, favouring, rate_all
from rating_server import CHROMIUM, SECRET, browsing, serving
from report_example import example_record

from harness.reporting.finished_reports import ANALYSIS
from harness.reporting.record import StageLine
from harness.reporting.render import write_report
from harness.settings import Settings
from harness.store.artifacts import write_json, write_parquet
from harness.store.database import open_database
from harness.store.tracking import Stage, Tracking
from harness.studies.studies import close_study, revoke_link
from harness.types import Generation, Message, Prompt
from harness.ui.frame import LINE
from harness.ui.gallery import GENERATIONS, PROMPTS
from harness.ui.translations import words_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"), pytest.mark.slow]

CROWD = {
    "people": 1, "items": 1, "consent": "# Konsens\n\n**Stopp**", "code": "C0DE", "back": "https://example.org/",
    "questions": [{"ask": "Idiom?", "options": ["Urdu"]}, {"ask": "Alter?"}],
    "instructions": {"en": "Read.", "de": "Lies."},
}  # fmt: skip
GERMAN = words_of("de")
STREAMLITS = {
    "apply",
    "submit",
    "form",
    "choose",
    "option",
    "options",
    "running",
    "deploy",
    "rerun",
    "clear",
    "loading",
}
# Words of our English that are no German of ours; what the study says itself is left out.
ENGLISH = set.difference(*({w for text in side for w in re.findall("[a-zäöüß]+", text.lower())}
                           for side in (GERMAN, GERMAN.values()))) | STREAMLITS  # fmt: skip
SEEN = """() => { let text = document.body.innerText;
  document.querySelectorAll('.said, .who, .reply .text, .reply bdi').forEach(e => text = text.replace(e.innerText, ''));
  const named = [...document.querySelectorAll('[aria-label], [placeholder]')].filter(e => e.checkVisibility());
  return [document.title, text, ...named.flatMap(e => [e.ariaLabel, e.placeholder])].join(' ').toLowerCase(); }"""


def fits(page: Page, language: str) -> None:
    """Nothing for axe to find, and in a German study no English of ours."""
    page.wait_for_function("language => document.documentElement.lang === language", arg=language)
    passes_axe(page)
    if language == "de":
        assert sorted(set(re.findall("[a-zäöüß]+", page.evaluate(SEEN))) & ENGLISH) == []


@pytest.mark.parametrize(("scheme", "language"), [("light", "en"), ("dark", "de")])
def test_what_raters_see(tmp_path: Path, scheme: Any, language: str) -> None:
    def said(english: str) -> str:
        return GERMAN[english] if language == "de" else english

    url = f"sqlite:///{tmp_path / 'store.db'}"
    engine = open_database(url)
    ours: dict[str, Any] = {"language": language, "question": "Idiom?"}
    crowd = a_study(engine, name="crowd", practice=True, crowd=CROWD, **ours).opened
    assert crowd is not None
    ours |= {"kind": "ranking", "variants": ("a", "b", "c", "d"), "n_prompts": 2, "comments": True}
    ranking, pairs = a_study(engine, name="ranking", **ours), a_study(engine, name="best", best_worst=True, **ours)
    with serving(url, tmp_path) as site, browsing() as browser:

        def opened(address: str, **options: Any) -> Page:
            page = browser.new_context(color_scheme=scheme, **options).new_page()
            page.set_default_timeout(180_000)
            page.goto(address)
            return page

        page = opened(crowd.url(site.url))
        page.get_by_text(said("I have read this and agree to take part")).click()
        fits(page, language)
        page.locator("button:enabled", has_text=said("Begin")).click()
        begin(page)
        for _ in range(2):
            fits(page, language)  # practice, and what most people say of it
            press(page, "1")
        press(page, "2")
        page.get_by_text("C0DE").wait_for()
        fits(page, language)
        other = opened(crowd.url(site.url))
        other.get_by_role("heading", name=said("This study has all the people it asked for")).wait_for()
        fits(other, language)
        for created in (ranking, pairs):
            page.goto(created.links[0].url(site.url))
            begin(page)
            page.keyboard.press("s")
            page.get_by_text(said("Skip for this reason")).wait_for()
            fits(page, language)
            page.keyboard.press("Escape")
            page.get_by_text(said("Which is the best?")).wait_for()
            fits(page, language)
            page.wait_for_timeout(450)
            page.keyboard.press("2")
            page.get_by_text(f"{said('Reply {place}').format(place=2)} 1.").wait_for()
            fits(page, language)
        page.context.set_offline(True)
        page.keyboard.press("3")
        page.get_by_text(said(LINE["lost"])).wait_for()
        fits(page, language)
        page.context.set_offline(False)
        revoke_link(engine, ranking.study, ranking.links[1].rater)
        close_study(engine, pairs.study.name)
        for link, why in ((ranking.links[1], "This link was withdrawn"), (pairs.links[1], "This study is closed")):
            page.goto(link.url(site.url))
            page.get_by_text(said(why)).first.wait_for()
            fits(page, language)
        fits(opened(site.url, locale=f"{language}-AT"), language)  # no study is known: as the browser speaks
    engine.dispose()


def _an_evaluation() -> None:
    """A report with prompts and replies to browse."""

    def files(stage: Stage) -> None:
        said = Message(role="user", content="Where?")
        prompts = [Prompt(id=f"p{i}", messages=(said,), split="test", cluster="c", reference="Out.") for i in range(12)]
        replies = [
            Generation(prompt_id=p.id, variant=v, draw=0, text=f"{v}.", seed=0, n_tokens=2, finish_reason="stop",
                       cluster="c", thinking="Hm.")
            for p in prompts for v in ("base", "sft")
        ]  # fmt: skip
        summary: dict[str, Any] = {
            "corpus": "qa", "source": "jsonl", "corpus_digest": "", "base": "", "system": None, "max_tokens": 9,
            "template": "blocks", "cluster_unit": "row", "n_clusters": 12, "n_conversations": 12, "n_utterances": 12,
            "splits": {}, "verdict_limit": "", "notes": [], "left_out": {}, "duplicates": {}, "repaired": {},
            "skipped": {}, "seen": {},
        }  # fmt: skip
        write_json(stage.folder / "summary.json", summary)
        write_parquet(stage.folder / PROMPTS, prompts, Prompt)
        write_parquet(stage.folder / GENERATIONS, replies, Generation)

    tracking = Tracking()
    made = tracking.stage("generate", revision=1, config={}, inputs={}, work=files)
    line = StageLine(name="generate", run_id=made.run_id, is_reused=False, fingerprint="", seconds=0.0,
                     artifacts={PROMPTS: "", GENERATIONS: ""})  # fmt: skip
    record = replace(example_record(), stages=(line,), config={"task": "exact"})
    tracking.stage(
        ANALYSIS, revision=1, config={}, inputs={}, work=lambda stage: (write_report(record, stage.folder), None)[1]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_the_owner_sees(tmp_path: Path, scheme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = Settings.from_environment().database_url
    engine, clock = open_database(url), Clock(now=2e9)
    created = a_study(engine, n_prompts=6, attention=1, clock=clock)
    for link, liked in zip(created.links, ("sft", "sft", "base"), strict=True):
        rate_all(engine, link.token, favouring(liked), clock=clock)
    engine.dispose()
    _an_evaluation()
    with speaking() as endpoint, browsing() as browser:
        monkeypatch.setenv("SCREENTEST_SERVE_URL", endpoint)
        with serving(url, tmp_path, owner=True) as site:
            page = browser.new_context(color_scheme=scheme).new_page()
            page.set_default_timeout(180_000)
            page.goto(site.url)
            page.get_by_label("The owner's secret").wait_for()
            passes_axe(page)
            page.get_by_label("The owner's secret").fill(SECRET)
            page.get_by_role("button", name="Open").click()
            page.get_by_text("Raters, one by one").click()
            passes_axe(page)
            for name, sign in (("Browse", "base"), ("Reports", "Download"), ("Chat", "Begin anew")):
                page.get_by_role("link", name=name).click()
                page.get_by_text(sign).first.wait_for()
                passes_axe(page)
                if name == "Browse":
                    page.get_by_label("Search").fill("nobody says this")
                    page.get_by_label("Search").press("Enter")
                    page.get_by_text("No prompt is left").wait_for()
                if name == "Reports":
                    with page.expect_download() as taken:
                        page.get_by_text(sign).click()
                    assert "<!doctype html>" in taken.value.path().read_text()[:20].lower()
                if name == "Chat":
                    words = page.locator(".stMain").inner_text().lower().replace("film@best", "")
                    assert not [word for word in ("scene", "film", "character") if word in words]
