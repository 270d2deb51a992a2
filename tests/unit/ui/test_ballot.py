"""What a press does to the store, and what the rater is told when it does nothing."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from panels import a_study, n_rows
from sqlalchemy import Engine

from harness.errors import UnavailableError
from harness.studies.casting import cast_rating
from harness.studies.serving import RatingTask
from harness.ui import ballot as module
from harness.ui.ballot import NOT_SAVED, TOO_SOON, Ballot


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item is read the moment it is shown."""
    monkeypatch.setattr(module, "UNREAD_SECONDS", 0.0)


@pytest.fixture
def ballot(sqlite: Engine) -> Ballot:
    return a_ballot(sqlite, n_prompts=3)


def a_ballot(engine: Engine, **changes: Any) -> Ballot:
    return Ballot(engine=engine, token=a_study(engine, rehearsal=True, **changes).links[0].token)


def at_hand(ballot: Ballot) -> RatingTask:
    task = ballot.current()
    assert isinstance(task, RatingTask)
    return task


def test_a_press_for_the_item_before_does_nothing(ballot: Ballot) -> None:
    at_hand(ballot)
    old = ballot.nonce
    ballot.vote(old, "left")
    second = at_hand(ballot)
    ballot.vote(old, "right")
    assert at_hand(ballot) == second
    assert n_rows(ballot.engine) == 1


def test_a_press_before_the_item_can_have_been_read_is_told(ballot: Ballot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNREAD_SECONDS", 60.0)
    at_hand(ballot)
    ballot.vote(ballot.nonce, "left")
    assert ballot.notice == TOO_SOON
    assert n_rows(ballot.engine) == 0


def test_a_store_that_cannot_be_written_keeps_the_item_and_the_key(
    ballot: Ballot, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = at_hand(ballot)
    nonce, cast = ballot.nonce, cast_rating

    def lost(*args: object, **options: object) -> None:
        cast(*args, **options)  # type: ignore[arg-type]  # it was stored; the acknowledgement is what got lost
        raise UnavailableError("gone")

    monkeypatch.setattr(module, "cast_rating", lost)
    ballot.vote(nonce, "left")
    assert ballot.notice == NOT_SAVED
    assert ballot.task == task
    monkeypatch.setattr(module, "cast_rating", cast)
    ballot.vote(nonce, "left")
    assert n_rows(ballot.engine) == 1
    assert ballot.notice == ""
    assert at_hand(ballot).slot != task.slot


def test_marks_are_saved_with_the_last_one_and_taken_back_one_by_one(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot = a_ballot(sqlite, kind="likert", n_prompts=2)
    task = at_hand(ballot)
    one, two = (scale.name for scale in task.criteria)
    ballot.mark(ballot.nonce, one, 4)
    ballot.ask_reason(ballot.nonce, is_skipping=True)
    ballot.ask_reason("of the item before", is_skipping=False)
    assert ballot.n_given == 2  # what the page gives again to a server that was started anew
    ballot.undo(ballot.nonce)
    assert (ballot.n_given, ballot.is_skipping) == (1, False)
    ballot.undo(ballot.nonce)
    assert ballot.marks == {}
    ballot.mark(ballot.nonce, one, 5)
    assert n_rows(ballot.engine) == 0
    with monkeypatch.context() as away:
        away.setattr(module, "cast_rating", Mock(side_effect=UnavailableError("gone")))
        ballot.mark(ballot.nonce, two, 2)
    assert (ballot.notice, ballot.marks) == (NOT_SAVED, {one: 5})  # the last is asked for again
    ballot.mark(ballot.nonce, two, 2)
    assert n_rows(ballot.engine) == 1
    assert at_hand(ballot).slot != task.slot
