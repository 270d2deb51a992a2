"""Strangers by one open link: every item has its ratings, nobody more than promised, and who comes again goes on."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from panels import Clock, Seat, a_study, favouring, hidden, seats, sides, the_items
from sqlalchemy import Engine, select

from harness.errors import ConfigError, InputError
from harness.studies.create import extend
from harness.studies.crowd import agree, enrol
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
from harness.studies.serving import Finished, RatingTask, welcome
from harness.studies.sql_schema import raters
from harness.studies.studies import Created, close_study, find_study

OURS = {"people": 5, "items": 3, "overlap": 2, "consent": "You may stop at any time."}


def came(engine: Engine, created: Created, who: str, *, clock: Clock, **sent: str) -> Seat:
    """One of a crowd by the open link, who has not agreed yet."""
    assert created.opened is not None
    return Seat(engine, enrol(engine, created.opened, who, sent, clock=clock), clock)


def agreed(engine: Engine, created: Created, who: str, *, clock: Clock, **sent: str) -> Seat:
    seat = came(engine, created, who, clock=clock, **sent)
    agree(engine, seat.token, language="en", answers={}, clock=clock)
    return seat


def done(rows: list[RatedSlot]) -> Counter[int]:
    return Counter(r.item_id for r in rows if r.kind == "main" and r.rating is not None)


def test_fifty_people_ten_items_each_and_a_fifth_leaves_half_way(sqlite: Engine) -> None:
    clock, rng = Clock(step=0.01), np.random.default_rng(7)
    crowd = {**OURS, "people": 50, "items": 10, "overlap": 3}
    created = a_study(sqlite, clock=clock, n_prompts=140, attention=1, crowd=crowd)
    people = [agreed(sqlite, created, f"p{i}", clock=clock) for i in range(50)]
    limit = {seat.token: 5 if i % 5 == 0 else 1000 for i, seat in enumerate(people)}
    at_work = list(people)
    while at_work:
        seat = at_work[int(rng.integers(len(at_work)))]
        clock.now += 30 / len(at_work)
        if limit[seat.token] == 0:  # has an item on the page, and goes
            seat.task()
            at_work.remove(seat)
        elif not seat.rate(favouring("sft"), limit=1):
            at_work.remove(seat)
        limit[seat.token] -= 1
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
    created = a_study(engine, clock=clock, n_prompts=2, crowd={**OURS, "items": 2, "overlap": 1})
    first = agreed(engine, created, "prolific:1", clock=clock, PROLIFIC_PID="1")
    assert agreed(engine, created, "prolific:1", clock=clock) == first
    task = first.due()
    assert first.due().slot == task.slot
    assert task.progress.n_total == 2
    clock.pass_minutes(60)
    agreed(engine, created, "prolific:2", clock=clock).rate(favouring("sft"))
    with pytest.raises(TakenOverError):
        first.vote(task.slot)
    assert isinstance(first.task(), Finished)
    assert sorted(done(read_rows(engine, created.study)).values()) == [1, 1]


def test_the_quota_holds_and_nothing_is_shown_before_consent(engine: Engine) -> None:
    clock, back = Clock(), "https://app.example.org/done"
    created = a_study(engine, clock=clock, crowd={**OURS, "people": 1, "items": 1, "code": "C0DE", "back": back})
    assert created.links == ()
    one = came(engine, created, "a", clock=clock, PROLIFIC_PID="\ud800\x00a")
    assert welcome(engine, one.token).crowd is not None
    with pytest.raises(NotAssignedError, match="agree"):
        one.task()
    with pytest.raises(CrowdFullError):
        came(engine, created, "b", clock=clock)
    assert came(engine, created, "a", clock=clock) == one
    with pytest.raises(UnknownLinkError):
        enrol(engine, OpenLink(token="guess"), "a", {}, clock=clock)
    agree(engine, one.token, language="de", answers={}, clock=clock)
    one.rate(favouring("sft"))
    end = one.task()
    assert isinstance(end, Finished)
    assert (end.code, end.back) == ("C0DE", back)


def test_practice_tells_what_was_right_and_lets_on_who_got_it(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, clock=clock, n_prompts=6, practice=True, crowd={**OURS, "screening": 2})
    for reply, is_right in (("practice-0", True), ("practice-1", False)):
        seat = agreed(engine, created, reply, clock=clock)
        for _ in range(2):
            task = seat.due()
            shown = sides(hidden(engine, task.slot))
            assert seat.vote(task.slot, ("left", "right")[shown.index(reply)]).is_right is is_right
        after = seat.task()
        assert isinstance(after, RatingTask) == is_right
        assert is_right or (isinstance(after, Finished) and after.is_screened_out)


def test_people_are_listed_to_be_paid_and_questions_are_checked(engine: Engine, tmp_path: Path) -> None:
    clock = Clock()
    asked = {"questions": [{"ask": "First language?", "options": ["English", "another"]}]}
    created = a_study(
        engine, clock=clock, crowd={**OURS, **asked, "items": 2, "pay_per_hour": 12, "seconds_per_item": 60}
    )
    seat = came(engine, created, "prolific:x", clock=clock, PROLIFIC_PID="x")
    with pytest.raises(InvalidRatingError):
        agree(engine, seat.token, language="en", answers={"First language?": "Klingon"}, clock=clock)
    agree(engine, seat.token, language="en", answers={"First language?": "English"}, clock=clock)
    seat.vote()
    assert write_people(engine, created.study, tmp_path / "people.csv") == 1
    (row,) = csv.DictReader((tmp_path / "people.csv").read_text().splitlines())
    assert (row["PROLIFIC_PID"], row["First language?"], row["rated"]) == ("x", "English", "1")
    assert (row["is_complete"], row["pay"]) == ("False", "0.20")
    with pytest.raises(InputError, match="which has a panel"):
        write_people(engine, a_study(engine, name="panel").study, tmp_path / "none.csv")


def test_items_added_to_an_open_study_are_rated_last_and_told(engine: Engine) -> None:
    created = a_study(engine, n_prompts=2)
    rater, *_ = seats(engine, created)
    rater.vote()
    more = [replace(i, prompt_id=f"new-{i.prompt_id}", probability=0.75) for i in the_items(created.study.design)]
    study = extend(engine, created.study, more)
    assert study.plan.endswith("4 prompts were added after 1 rating.")
    rater.rate(favouring("sft"))
    mine = [r for r in read_rows(engine, find_study(engine, study.name)) if r.rater == created.links[0].rater]
    assert [r.prompt_id.startswith("new-") for r in mine] == [False] * 2 + [True] * 4
    assert {r.probability for r in mine} == {0.75}
    with pytest.raises(InputError, match="closed"):
        extend(engine, close_study(engine, study.name), more)


def test_a_crowd_takes_no_panel(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="takes no `panel`"):
        a_study(engine, panel={"raters": 2}, crowd=OURS)


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
