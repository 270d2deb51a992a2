"""Which pages there are, for whom, and what the owner's say."""

from __future__ import annotations

from pathlib import Path

import pytest
from panels import Clock, a_study, favouring, rate_all
from report_example import example_record
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from harness.reporting.render import write_report
from harness.reporting.runs import ANALYSIS
from harness.settings import Settings
from harness.store.database import open_database
from harness.store.tracking import Stage, Tracking
from harness.studies.links import OWNER_VARIABLE
from harness.studies.studies import add_rehearsal

APP = Path(__file__).resolve().parents[2] / "app.py"
SECRET = "a-secret-of-an-owner"


@pytest.fixture
def store() -> Engine:
    return open_database(Settings.from_environment().database_url)


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    import streamlit as st

    st.cache_resource.clear()
    st.cache_data.clear()


def text_of(app: AppTest) -> str:
    return " ".join(block.proto.body for block in app.get("html"))


def owner(monkeypatch: pytest.MonkeyPatch, *, secret: str = SECRET) -> AppTest:
    monkeypatch.setenv("SCREENTEST_PAGES", "owner")
    monkeypatch.setenv(OWNER_VARIABLE, SECRET)
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.text_input[0].input(secret)
    return app.button[0].click().run()


def test_without_a_link_there_is_one_page_and_it_says_what_is_missing() -> None:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    assert "your own link" in text_of(app)
    assert not app.button


def test_a_rater_goes_from_the_instructions_to_the_first_item(store: Engine) -> None:
    link = a_study(store, rehearsal=True).links[0]
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params["rater"] = link.token
    app.run()
    assert "How to rate" in text_of(app)
    app.button(key="begin").click().run()
    assert not app.exception
    assert "Which line belongs in the scene?" in text_of(app)
    assert [b.label for b in app.button][:4] == ["Reply 1 is better", "Reply 2 is better", "Equally good", "Both bad"]


def test_a_wrong_secret_opens_nothing(monkeypatch: pytest.MonkeyPatch, store: Engine) -> None:
    a_study(store, name="hidden-study")
    monkeypatch.setattr("harness.ui.owner.PAUSE", 0.0)
    app = owner(monkeypatch, secret="a-secret-of-another")
    assert "not the secret" in app.error[0].value
    assert not app.selectbox


def test_no_secret_in_the_environment_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENTEST_PAGES", "owner")
    monkeypatch.delenv(OWNER_VARIABLE, raising=False)
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.text_input[0].input("")
    app.button[0].click().run()
    assert OWNER_VARIABLE in app.error[0].value


def test_results_tell_the_share_with_its_interval_and_leave_rehearsal_out(
    monkeypatch: pytest.MonkeyPatch, store: Engine
) -> None:
    clock = Clock(now=2e9)
    created = a_study(store, n_prompts=6, attention=1, repeats=0.34)
    for link, liked in zip(created.links, ("sft", "sft", "base"), strict=True):
        rate_all(store, link.token, favouring(liked), clock=clock)
    rehearsal = add_rehearsal(store, created.study, "me")
    rate_all(store, rehearsal.token, favouring("base"), clock=clock)
    app = owner(monkeypatch)
    assert not app.exception
    page = text_of(app)
    assert "These raters prefer base to sft on 33" in page
    assert "confidence sequence, valid at every look" in page
    assert "6 prompts, 0 missing" in page
    assert "18 ratings count" in page
    assert "9 were given in rehearsal" in page
    assert "no: rehearsal" in page
    assert "Davidson" in page
    assert "Krippendorff" in page


def reports_page() -> None:
    from harness.ui import reports

    reports.show()


def browse_page() -> None:
    from harness.ui import browse

    browse.show()


def test_an_empty_store_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "screentest study create" in owner(monkeypatch).info[0].value
    for page in (reports_page, browse_page):
        app = AppTest.from_function(page, default_timeout=60).run()
        assert "screentest quickstart" in app.info[0].value


def test_a_finished_evaluation_can_be_read() -> None:
    record = example_record()

    def work(stage: Stage) -> None:
        write_report(record, stage.folder)

    Tracking().stage(ANALYSIS, revision=1, config={}, inputs={}, work=work)
    app = AppTest.from_function(reports_page, default_timeout=60).run()
    assert not app.exception
    assert record.question in app.selectbox[0].options[0]
