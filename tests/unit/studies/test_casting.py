"""Every deed of a rater enters once, in order, or is refused by name; on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from panels import Clock, a_study, favouring, hidden, rate_all, vote
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.exc import DatabaseError

from harness.store.database import writing
from harness.studies.casting import Cast, cast_rating
from harness.studies.refusals import (
    AlreadyRatedError,
    InvalidRatingError,
    KeyReusedError,
    NotAssignedError,
    OutOfOrderError,
    RevokedLinkError,
    StudyClosedError,
    TakenOverError,
    TooManySkipsError,
    UnknownLinkError,
)
from harness.studies.serving import Finished, RatingTask, next_task, welcome
from harness.studies.sql_schema import ratings, shows
from harness.studies.studies import close_study, renew_link, revoke_link


def n_rows(engine: Engine) -> int:
    with engine.begin() as connection:
        return int(connection.execute(select(func.count()).select_from(ratings)).scalar_one())


def due(engine: Engine, token: str, clock: Clock) -> RatingTask:
    task = next_task(engine, token, clock=clock)
    assert isinstance(task, RatingTask)
    return task


def test_a_whole_study_is_rated_once_and_then_finished(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, n_prompts=6, clock=clock, attention=1, practice=True, repeats=0.34)
    counts = [rate_all(engine, link.token, favouring("sft"), clock=clock) for link in created.links]
    assert counts == [2 + 6 + 2 + 1] * 3
    assert n_rows(engine) == 33
    last = next_task(engine, created.links[0].token, clock=clock)
    assert last == Finished(n_done=11, is_rehearsal=False, can_undo=True)


def test_what_is_shown_is_stored_before_the_page_has_it(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    task = due(engine, token, clock)
    again = due(engine, token, clock)
    assert again == task
    with engine.begin() as connection:
        rows = connection.execute(select(shows)).all()
    assert [row.slot_id for row in rows] == [task.slot] * 2
    row = hidden(engine, task.slot)
    texts = tuple(r["text"] for r in row.replies)
    assert task.replies == (texts[::-1] if row.is_flipped else texts)
    assert rows[0].is_flipped == row.is_flipped


def test_a_task_tells_nothing_of_variants(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, clock=clock, variants=("base", "sft"))
    for link in created.links:
        for _ in range(4):
            task = due(engine, link.token, clock)
            shown = repr(task).replace(task.replies[0], "").replace(task.replies[1], "")
            assert "base" not in shown
            assert "sft" not in shown
            vote(engine, link.token, task.slot, clock=clock)


def test_a_repeated_call_gives_the_first_receipt(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    task = due(engine, token, clock)
    first = vote(engine, token, task.slot, key="k", clock=clock)
    second = vote(engine, token, task.slot, key="k", clock=clock)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.rating_id == second.rating_id
    with pytest.raises(KeyReusedError):
        vote(engine, token, task.slot, "right", key="k", clock=clock)
    with pytest.raises(AlreadyRatedError):
        vote(engine, token, task.slot, "right", key="other", clock=clock)
    assert n_rows(engine) == 1


def test_two_tabs_at_the_same_moment_count_once(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    task = due(engine, token, clock)
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def tab(number: int) -> None:
        barrier.wait()
        try:
            vote(engine, token, task.slot, key=f"tab {number}", clock=clock)
            outcomes.append("stored")
        except AlreadyRatedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=tab, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["stored"]
    assert n_rows(engine) == 1


def test_undo_and_change_are_rows_of_their_own(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    first = due(engine, token, clock)
    vote(engine, token, first.slot, "left", clock=clock)
    second = due(engine, token, clock)
    undone = cast_rating(engine, token, Cast(key="u", action="undo"), clock=clock)
    assert undone.slot == first.slot
    assert due(engine, token, clock).slot == first.slot
    vote(engine, token, first.slot, "right", key="again", clock=clock)
    cast_rating(engine, token, Cast(key="c", action="change", slot=first.slot, verdict="tie"), clock=clock)
    assert due(engine, token, clock).slot == second.slot
    with engine.begin() as connection:
        rows = connection.execute(select(ratings).order_by(ratings.c.id)).all()
    assert [(r.action, r.verdict) for r in rows] == [
        ("vote", "left"), ("undo", None), ("vote", "right"), ("change", "tie"),
    ]  # fmt: skip
    assert [r.supersedes for r in rows] == [None, *(r.id for r in rows[:-1])]
    # The second look at the item began after the undo.
    assert rows[2].shown_at > rows[1].cast_at


def test_undo_goes_back_step_by_step_and_ends_with_a_reason(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    done = []
    for _ in range(2):
        task = due(engine, token, clock)
        vote(engine, token, task.slot, clock=clock)
        done.append(task.slot)
    back = [cast_rating(engine, token, Cast(key=f"u{i}", action="undo"), clock=clock).slot for i in range(2)]
    assert back == done[::-1]
    with pytest.raises(OutOfOrderError, match="nothing to undo"):
        cast_rating(engine, token, Cast(key="u2", action="undo"), clock=clock)


def test_a_skip_needs_a_reason_and_leaves_the_item_missing(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    task = due(engine, token, clock)
    with pytest.raises(InvalidRatingError, match="reason"):
        cast_rating(engine, token, Cast(key="s", action="skip", slot=task.slot, reason="\u200b "), clock=clock)
    with pytest.raises(InvalidRatingError, match="text that can be stored"):
        cast_rating(engine, token, Cast(key="s", action="skip", slot=task.slot, reason="\0 or \ud83d"), clock=clock)
    cast_rating(engine, token, Cast(key="s", action="skip", slot=task.slot, reason="not in English"), clock=clock)
    after = due(engine, token, clock)
    assert after.slot != task.slot
    assert (after.progress.n_done, after.progress.n_total) == (1, 4)
    for n in range(2):
        cast_rating(engine, token, Cast(key=f"{n}", action="skip", slot=after.slot, reason="nor this"), clock=clock)
        after = due(engine, token, clock)
    with pytest.raises(TooManySkipsError, match="at most 3 of 4"):
        cast_rating(engine, token, Cast(key="s4", action="skip", slot=after.slot, reason="no"), clock=clock)


@pytest.mark.parametrize(
    ("kind", "cast"),
    [
        ("pairwise", {"verdict": "best"}),
        ("pairwise", {"verdict": None}),
        ("pairwise", {"verdict": "left", "marks": {"fluent": 3}}),
        ("likert", {"verdict": "left"}),
        ("likert", {"marks": {"fluent": 3}}),
        ("likert", {"marks": {"fluent": 3, "relevant": 6}}),
        ("likert", {"marks": {"fluent": 3, "relevant": True}}),
        ("likert", {"marks": {"fluent": 3, "relevant": 2.5}}),
        ("pairwise", {"verdict": "left", "reason": "x" * 501}),
    ],
)
def test_a_rating_that_does_not_fit_is_refused(sqlite: Engine, kind: str, cast: dict[str, Any]) -> None:
    clock = Clock()
    token = a_study(sqlite, kind=kind, clock=clock).links[0].token
    task = due(sqlite, token, clock)
    with pytest.raises(InvalidRatingError, match="must"):
        cast_rating(sqlite, token, Cast(key="k", action="vote", slot=task.slot, **cast), clock=clock)
    assert n_rows(sqlite) == 0


def test_links_slots_and_order_are_refused_by_name(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, clock=clock)
    mine, other = (link.token for link in created.links[:2])
    task, theirs = due(engine, mine, clock), due(engine, other, clock)
    with pytest.raises(UnknownLinkError):
        next_task(engine, "nobody", clock=clock)
    with pytest.raises(NotAssignedError):
        vote(engine, mine, theirs.slot, clock=clock)
    with pytest.raises(NotAssignedError):
        vote(engine, mine, "no-such-slot", clock=clock)
    vote(engine, mine, task.slot, clock=clock)
    later = due(engine, mine, clock)
    cast_rating(engine, mine, Cast(key="u", action="undo"), clock=clock)
    with pytest.raises(OutOfOrderError, match="due"):
        vote(engine, mine, later.slot, clock=clock)
    with pytest.raises(OutOfOrderError, match="change"):
        cast_rating(engine, mine, Cast(key="c", action="change", slot=task.slot, verdict="tie"), clock=clock)
    new = renew_link(engine, created.study, "rater-1")
    with pytest.raises(UnknownLinkError):
        next_task(engine, mine, clock=clock)
    assert due(engine, new.token, clock).slot == task.slot
    revoke_link(engine, created.study, "rater-1", clock=clock)
    with pytest.raises(RevokedLinkError):
        next_task(engine, new.token, clock=clock)
    assert n_rows(engine) == 2


def test_a_slot_that_was_not_shown_cannot_be_rated(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, clock=clock)
    with engine.begin() as connection:
        rater = "SELECT id FROM study_raters WHERE name = 'rater-1'"
        unseen = f"SELECT id FROM study_slots WHERE rater_id = ({rater}) AND position = 0"
        slot = connection.execute(text(unseen)).scalar_one()
    with pytest.raises(OutOfOrderError, match="shown"):
        vote(engine, created.links[0].token, slot, clock=clock)


def test_a_closed_study_keeps_what_it_has_and_takes_no_more(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, clock=clock)
    token = created.links[0].token
    task = due(engine, token, clock)
    vote(engine, token, task.slot, clock=clock)
    closed = close_study(engine, created.study.name, clock=clock)
    assert not closed.is_open
    assert close_study(engine, created.study.name, clock=clock) == closed
    for deed in (
        lambda: next_task(engine, token, clock=clock),
        lambda: cast_rating(engine, token, Cast(key="u", action="undo"), clock=clock),
    ):
        with pytest.raises(StudyClosedError):
            deed()
    assert welcome(engine, token).is_closed
    assert n_rows(engine) == 1


def test_ratings_cannot_be_altered_or_removed(engine: Engine) -> None:
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    vote(engine, token, due(engine, token, clock).slot, clock=clock)
    for statement in (
        "UPDATE ratings SET verdict = 'right'",
        "DELETE FROM ratings",
        "UPDATE study_shows SET is_flipped = is_flipped",
        "DELETE FROM study_shows",
    ):
        with pytest.raises(DatabaseError, match="append-only"), writing(engine) as connection:
            connection.execute(text(statement))


def test_a_vote_and_the_next_item_cost_ten_statements(engine: Engine) -> None:
    """Every statement is a round trip on PostgreSQL: on a loaded machine their number is what a rater waits for."""
    clock = Clock()
    token = a_study(engine, clock=clock).links[0].token
    task = due(engine, token, clock)
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    vote(engine, token, task.slot, clock=clock)
    due(engine, token, clock)
    event.remove(engine, "before_cursor_execute", note)
    assert len([statement for statement in sent if not statement.startswith("BEGIN")]) == 10


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_is_done_takes_over_from_who_left_and_nobody_rates_an_item_twice(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, n_prompts=9, clock=clock, panel={"raters": 3, "overlap": 2}, lease_minutes=10)
    away, *here = (link.token for link in created.links)
    left = due(engine, away, clock)
    assert [rate_all(engine, token, favouring("sft"), clock=clock) for token in here] == [6, 6]
    assert isinstance(next_task(engine, here[0], clock=clock), Finished)  # the lease still holds
    clock.pass_minutes(11)
    taken = sum(rate_all(engine, token, favouring("sft"), clock=clock) for token in here)
    assert taken == 6
    with pytest.raises(TakenOverError):
        vote(engine, away, left.slot, clock=clock)
    assert isinstance(next_task(engine, away, clock=clock), Finished)
    with engine.begin() as connection:
        per_item = connection.execute(
            text(
                "SELECT s.item_id, count(*), count(DISTINCT r.rater_id) FROM ratings r "
                "JOIN study_slots s ON s.id = r.slot_id GROUP BY s.item_id"
            )
        ).all()
    assert [(n, different) for _, n, different in per_item] == [(2, 2)] * 9


def test_a_rater_who_comes_back_in_time_keeps_the_item(engine: Engine) -> None:
    clock = Clock()
    created = a_study(engine, n_prompts=4, clock=clock, panel={"raters": 3, "overlap": 2}, lease_minutes=10)
    slow, *quick = (link.token for link in created.links)
    task = due(engine, slow, clock)
    clock.pass_minutes(11)  # gone for longer than a lease, but nobody took the item
    assert vote(engine, slow, task.slot, clock=clock).is_new
    for token in quick:
        rate_all(engine, token, favouring("sft"), clock=clock)
    assert due(engine, slow, clock)
