"""Strangers by one open link: every item has its ratings, nobody more than promised, and who comes again goes on."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from panels import Clock, a_study, favouring, hidden, the_items, vote
from sqlalchemy import Engine, select

from harness.errors import ConfigError, InputError
from harness.studies.casting import Cast, cast_rating
from harness.studies.crowd import agree, enrol
from harness.studies.create import extend
from harness.studies.links import OpenLink
from harness.studies.people import write_people
from harness.studies.rating_rows import RatedSlot, read_rows
from harness.studies.refusals import (
    CrowdFullError,
    InvalidRatingError,
    NotAssignedError,
    TakenOverError,
    UnknownLinkError,
)
from harness.studies.results import study_results
from harness.studies.serving import Finished, RatingTask, next_task, welcome
from harness.studies.sql_schema import raters
from harness.studies.studies import Created, close_study, find_study


def a_crowd(engine: Engine, *, clock: Clock, n_prompts: int = 6, attention: int = 0, practice: bool = False, **crowd: Any) -> Created:  # fmt: skip # noqa: E501
    declared = {"people": 5, "items": 3, "overlap": 2, "consent": "You may stop at any time.", **crowd}
    return a_study(engine, n_prompts=n_prompts, attention=attention, practice=practice, clock=clock, crowd=declared)


def come(engine: Engine, created: Created, who: str, *, clock: Clock, **sent: str) -> str:
    assert created.opened is not None
    token = enrol(engine, created.opened, who, sent, clock=clock)
    agree(engine, token, language="en", answers={}, clock=clock)
    return token


def rate_one(engine: Engine, token: str, *, clock: Clock) -> bool:
    task = next_task(engine, token, clock=clock)
    if isinstance(task, RatingTask):
        cast_rating(engine, token, favouring("sft")(task, hidden(engine, task.slot)), clock=clock)
    return isinstance(task, RatingTask)


def done(rows: list[RatedSlot]) -> Counter[int]:
    return Counter(r.item_id for r in rows if r.kind == "main" and r.rating is not None)


def test_fifty_people_ten_items_each_and_a_fifth_leaves_half_way(sqlite: Engine) -> None:
    clock, rng = Clock(step=0.01), np.random.default_rng(7)
    created = a_crowd(sqlite, clock=clock, n_prompts=140, people=50, items=10, overlap=3, attention=1)
    tokens = [come(sqlite, created, f"p{i}", clock=clock) for i in range(50)]
    limit = {token: 5 if i % 5 == 0 else 1000 for i, token in enumerate(tokens)}
    at_work = list(tokens)
    while at_work:
        token = at_work[int(rng.integers(len(at_work)))]
        clock.now += 30 / len(at_work)
        if limit[token] == 0:  # has an item on the page, and goes
            next_task(sqlite, token, clock=clock)
            at_work.remove(token)
        elif not rate_one(sqlite, token, clock=clock):
            at_work.remove(token)
        limit[token] -= 1
    rows = read_rows(sqlite, created.study)
    assert len(done(rows)) == 140
    assert min(done(rows).values()) >= 3
    assert sum(done(rows).values()) <= 140 * 3 + 10  # an item that somebody held was at most rated once more
    shown = Counter(r.rater for r in rows if r.state != "released" and r.kind == "main")
    assert max(shown.values()) <= 10
    assert all(len({r.item_id for r in rows if r.rater == name and r.kind == "main"}) == n for name, n in shown.items())
    found = study_results(sqlite, created.study)
    assert (found.n_waiting, found.pairs[0].n_waiting, found.pairs[0].n_prompts) == (0, 0, 140)
    left = Counter(r.is_flipped for r in rows if r.kind == "main" and r.rating)
    assert abs(left[True] - left[False]) < 60


def test_coming_again_goes_on_and_an_item_left_behind_goes_to_another(engine: Engine) -> None:
    clock = Clock()
    created = a_crowd(engine, clock=clock, n_prompts=2, items=2, overlap=1)
    first = come(engine, created, "prolific:1", clock=clock, PROLIFIC_PID="1")
    assert come(engine, created, "prolific:1", clock=clock) == first
    task = next_task(engine, first, clock=clock)
    assert isinstance(task, RatingTask)
    assert next_task(engine, first, clock=clock).slot == task.slot  # type: ignore[union-attr]
    assert task.progress.n_total == 2
    clock.pass_minutes(60)
    other = come(engine, created, "prolific:2", clock=clock)
    while rate_one(engine, other, clock=clock):
        pass
    with pytest.raises(TakenOverError):
        vote(engine, first, task.slot, clock=clock)
    end = next_task(engine, first, clock=clock)
    assert isinstance(end, Finished)
    assert sorted(done(read_rows(engine, created.study)).values()) == [1, 1]


def test_the_quota_holds_and_nothing_is_shown_before_consent(engine: Engine) -> None:
    clock = Clock()
    created = a_crowd(engine, clock=clock, people=1, code="C0DE", back="https://app.example.org/done", items=1)
    assert created.links == ()
    assert created.opened is not None
    token = enrol(engine, created.opened, "a", {"PROLIFIC_PID": "\ud800\x00a"}, clock=clock)
    assert welcome(engine, token).crowd is not None
    with pytest.raises(NotAssignedError, match="agree"):
        next_task(engine, token, clock=clock)
    with pytest.raises(CrowdFullError):
        enrol(engine, created.opened, "b", {}, clock=clock)
    assert enrol(engine, created.opened, "a", {}, clock=clock) == token
    with pytest.raises(UnknownLinkError):
        enrol(engine, OpenLink(token="guess"), "a", {}, clock=clock)
    agree(engine, token, language="de", answers={}, clock=clock)
    while rate_one(engine, token, clock=clock):
        pass
    end = next_task(engine, token, clock=clock)
    assert isinstance(end, Finished)
    assert (end.code, end.back) == ("C0DE", "https://app.example.org/done")


def test_practice_tells_what_was_right_and_lets_on_who_got_it(engine: Engine) -> None:
    clock = Clock()
    created = a_crowd(engine, clock=clock, practice=True, screening=2)
    for who, is_right in (("good", True), ("bad", False)):
        token = come(engine, created, who, clock=clock)
        for _ in range(2):
            task = next_task(engine, token, clock=clock)
            assert isinstance(task, RatingTask)
            row = hidden(engine, task.slot)
            right = "right" if row.is_flipped else "left"
            wrong = "left" if row.is_flipped else "right"
            cast = Cast(key=task.slot, action="vote", slot=task.slot, verdict=right if is_right else wrong)  # type: ignore[arg-type]
            assert cast_rating(engine, token, cast, clock=clock).is_right is is_right
        after = next_task(engine, token, clock=clock)
        assert isinstance(after, RatingTask) == is_right
        assert is_right or (isinstance(after, Finished) and after.is_screened_out)


def test_people_are_listed_to_be_paid_and_questions_are_checked(engine: Engine, tmp_path: Path) -> None:
    clock = Clock()
    asked = [{"ask": "First language?", "options": ["English", "another"]}]
    created = a_crowd(engine, clock=clock, items=2, questions=asked, pay_per_hour=12, seconds_per_item=60)
    assert created.opened is not None
    token = enrol(engine, created.opened, "prolific:x", {"PROLIFIC_PID": "x"}, clock=clock)
    with pytest.raises(InvalidRatingError):
        agree(engine, token, language="en", answers={"First language?": "Klingon"}, clock=clock)
    agree(engine, token, language="en", answers={"First language?": "English"}, clock=clock)
    rate_one(engine, token, clock=clock)
    assert write_people(engine, created.study, tmp_path / "people.csv") == 1
    (row,) = csv.DictReader((tmp_path / "people.csv").read_text().splitlines())
    assert (row["PROLIFIC_PID"], row["First language?"], row["rated"]) == ("x", "English", "1")
    assert (row["is_complete"], row["pay"]) == ("False", "0.20")
    panel = a_study(engine, name="panel")
    with pytest.raises(InputError, match="which has a panel"):
        write_people(engine, panel.study, tmp_path / "none.csv")


def test_items_added_to_an_open_study_are_rated_last_and_told(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, n_prompts=2, clock=clock)
    token = created.links[0].token
    rate_one(engine, token, clock=clock)
    more = [replace(i, prompt_id=f"new-{i.prompt_id}", probability=0.75) for i in the_items(created.study.design)]
    study = extend(engine, created.study, more, clock=clock)
    assert study.plan.endswith("4 prompts were added after 1 rating.")
    while rate_one(engine, token, clock=clock):
        pass
    mine = [r for r in read_rows(engine, find_study(engine, study.name)) if r.rater == created.links[0].rater]
    assert [r.prompt_id.startswith("new-") for r in mine] == [False] * 2 + [True] * 4
    assert {r.probability for r in mine} == {0.75}
    with pytest.raises(InputError, match="closed"):
        extend(engine, close_study(engine, study.name), more)


def test_a_crowd_takes_no_panel(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="takes no `panel`"):
        a_study(engine, panel={"raters": 2}, crowd={"people": 1, "items": 1, "consent": "Yes?"})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=50), st.text(max_size=600), max_size=4), st.text(max_size=40))
def test_whatever_a_site_sends_is_kept_as_text(engine: Engine, sent: dict[str, str], who: str) -> None:
    name = f"site-{abs(hash((who, *sent.items())))}"
    created = a_study(engine, name=name, crowd={"people": 1, "items": 1, "consent": "Yes?"})
    assert created.opened is not None
    token = enrol(engine, created.opened, who, sent)
    assert welcome(engine, token).crowd is not None
    with engine.begin() as connection:
        (row,) = connection.execute(select(raters.c.arrival).where(raters.c.study_id == created.study.id))
    assert all(len(value) <= 500 for value in row.arrival["sent"].values())
