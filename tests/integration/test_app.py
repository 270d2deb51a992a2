"""Which pages there are, for whom, and what the owner's say."""

from __future__ import annotations

from pathlib import Path

import pytest
from panels import Clock, a_study, favouring, rate_all
from report_example import example_record
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from harness.reporting.finished_reports import ANALYSIS
from harness.reporting.render import write_report
from harness.settings import Settings
from harness.store.database import open_database
from harness.store.tracking import Stage, Tracking
from harness.studies.crowd import enrol
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
    app = AppTest.from_file(str(APP), default_timeout=900).run()
    app.text_input[0].input(secret)
    return app.button[0].click().run()


def test_without_a_link_there_is_one_page_and_it_says_what_is_missing() -> None:
    app = AppTest.from_file(str(APP), default_timeout=900).run()
    assert not app.exception
    assert "your own link" in text_of(app)
    assert not app.button


def rater(token: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=900)
    app.query_params["rater"] = token
    return app.run()


def pressed(app: AppTest, *labels: str) -> AppTest:
    """Press buttons one after the other, each after it was read."""
    for label in labels:
        if "ballot" in app.session_state:
            app.session_state.ballot.served_at -= 10
        next(b for b in app.button if b.label == label).click().run()
        assert not app.exception
    return app


def test_a_stranger_agrees_practises_and_gets_a_code(store: Engine) -> None:
    declared = {
        "people": 1, "items": 1, "consent": "You may **stop** at any time.", "code": "C0DE", "screening": 1,
        "instructions": {"en": "Read.", "de": "Lies."}, "questions": [{"ask": "First language?", "options": ["Urdu"]}],
        "pay_per_hour": 12, "currency": "EUR", "back": "https://app.example.org/done",
    }  # fmt: skip
    created = a_study(store, practice=True, crowd=declared)
    assert created.opened is not None
    app = rater(enrol(store, created.opened, "browser:x", {}))
    assert "Pay is EUR 0.20." in text_of(app)
    assert "stop" in app.markdown[0].value
    assert app.button(key="consented").disabled
    app.radio(key="language").set_value("de")
    app.radio(key="question-First language?").set_value("Urdu")
    app.checkbox(key="agree").check().run()
    pressed(app, "Beginnen")
    assert app.markdown[0].value == "Lies."
    assert "Es sind 3 Aufgaben" in text_of(app)
    pressed(app, "Beginnen", "Gleich gut")
    assert "Die meisten finden die andere Antwort besser" in text_of(app)
    page = text_of(app)
    is_left = page.index("looks like from there") < page.index("Chair chair")
    assert "Die meisten finden diese Antwort besser" in text_of(pressed(app, f"Antwort {2 - is_left} ist besser"))
    assert "C0DE" in text_of(pressed(app, "Beide schlecht"))


def test_replies_are_put_in_order_by_place(store: Engine) -> None:
    created = a_study(store, kind="ranking", variants=("base", "dpo", "sft"), n_prompts=1)
    app = pressed(rater(created.links[0].token), "Begin", "Reply 2")
    assert "best of the others" in text_of(app)
    assert "last one" in text_of(pressed(app, "Reply 3"))


def test_a_wrong_secret_opens_nothing(monkeypatch: pytest.MonkeyPatch, store: Engine) -> None:
    a_study(store, name="hidden-study")
    monkeypatch.setattr("harness.ui.owner.PAUSE", 0.0)
    app = owner(monkeypatch, secret="a-secret-of-another")
    assert "not the secret" in app.error[0].value
    assert not app.selectbox


def test_no_secret_in_the_environment_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENTEST_PAGES", "owner")
    monkeypatch.delenv(OWNER_VARIABLE, raising=False)
    app = AppTest.from_file(str(APP), default_timeout=900).run()
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
    assert "Most raters preferred base on 0 of 6 prompts" in page
    assert "The average vote for base is 33" in page
    assert "hold however often you look" in page
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
        app = AppTest.from_function(page, default_timeout=900).run()
        assert "screentest quickstart" in app.info[0].value


def test_a_finished_evaluation_can_be_read() -> None:
    record = example_record()

    def work(stage: Stage) -> None:
        write_report(record, stage.folder)

    Tracking().stage(ANALYSIS, revision=1, config={}, inputs={}, work=work)
    app = AppTest.from_function(reports_page, default_timeout=900).run()
    assert not app.exception
    assert record.question in app.selectbox[0].options[0]
