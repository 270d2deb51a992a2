"""Every action of a rater enters once, in order, or is refused by name; on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from panels import a_study, favouring, hidden, n_rows, seats
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import DatabaseError

from harness.store.database import writing
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
from harness.studies.serving import Finished, next_task, welcome
from harness.studies.sql_schema import ratings, shows
from harness.studies.studies import close_study, renew_link, revoke_link


def test_a_whole_study_is_rated_once_and_then_finished(engine: Engine) -> None:
    raters = seats(engine, a_study(engine, n_prompts=6, attention=1, practice=True, repeats=0.34))
    assert [rater.rate(favouring("sft")) for rater in raters] == [2 + 6 + 2 + 1] * 3
    assert n_rows(engine) == 33
    assert raters[0].task() == Finished(n_done=11, is_rehearsal=False, can_undo=True)


def test_what_is_shown_is_stored_before_the_page_has_it(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    task = rater.due()
    assert rater.due() == task
    with engine.begin() as connection:
        rows = connection.execute(select(shows)).all()
    assert [row.slot_id for row in rows] == [task.slot] * 2
    row = hidden(engine, task.slot)
    texts = tuple(r["text"] for r in row.replies)
    assert task.replies == (texts[::-1] if row.is_flipped else texts)
    assert rows[0].is_flipped == row.is_flipped


def test_a_task_tells_nothing_of_variants(engine: Engine) -> None:
    for rater in seats(engine, a_study(engine)):
        for _ in range(4):
            task = rater.due()
            shown = repr(task).replace(task.replies[0], "").replace(task.replies[1], "")
            assert not [name for name in ("base", "sft") if name in shown]
            rater.vote(task.slot)


def test_a_repeated_call_gives_the_first_receipt(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    slot = rater.due().slot
    first, second = (rater.vote(slot, key="k") for _ in range(2))
    assert (first.is_new, second.is_new) == (True, False)
    assert first.rating_id == second.rating_id
    with pytest.raises(KeyReusedError):
        rater.vote(slot, "right", key="k")
    with pytest.raises(AlreadyRatedError):
        rater.vote(slot, "right", key="other")
    assert n_rows(engine) == 1


def test_two_tabs_at_the_same_moment_count_once(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    slot, barrier = rater.due().slot, Barrier(8)

    def tab(number: int) -> str:
        barrier.wait()
        try:
            rater.vote(slot, key=f"tab {number}")
        except AlreadyRatedError:
            return "refused"
        return "stored"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(tab, range(8))) == ["refused"] * 7 + ["stored"]
    assert n_rows(engine) == 1


def test_undo_and_change_are_rows_of_their_own(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    first = rater.vote(verdict="left").slot
    second = rater.due().slot
    assert rater.cast("undo").slot == first
    assert rater.due().slot == first
    rater.vote(first, "right")
    rater.cast("change", first, verdict="tie")
    assert rater.due().slot == second
    with engine.begin() as connection:
        rows = connection.execute(select(ratings).order_by(ratings.c.id)).all()
    said = [("vote", "left"), ("undo", None), ("vote", "right"), ("change", "tie")]
    assert [(r.action, r.verdict) for r in rows] == said
    assert [r.supersedes for r in rows] == [None, *(r.id for r in rows[:-1])]
    # The second look at the item began after the undo.
    assert rows[2].shown_at > rows[1].cast_at


def test_undo_goes_back_step_by_step_and_ends_with_a_reason(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    done = [rater.vote().slot for _ in range(2)]
    assert [rater.cast("undo").slot for _ in range(2)] == done[::-1]
    with pytest.raises(OutOfOrderError, match="nothing to undo"):
        rater.cast("undo")


def test_a_skip_needs_a_reason_and_leaves_the_item_missing(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    first = rater.due().slot
    for reason, rule in (("\u200b ", "reason"), ("\0 or \ud83d", "text that can be stored")):
        with pytest.raises(InvalidRatingError, match=rule):
            rater.cast("skip", first, reason=reason)
    rater.cast("skip", first, reason="not in English")
    after = rater.due()
    assert after.slot != first
    assert (after.progress.n_done, after.progress.n_total) == (1, 4)
    for _ in range(2):
        rater.cast("skip", rater.due().slot, reason="nor this")
    with pytest.raises(TooManySkipsError, match="at most 3 of 4"):
        rater.cast("skip", rater.due().slot, reason="no")


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
        ("ranking", {"marks": {}}),
        ("ranking", {"marks": {"1": 1, "2": 1, "3": 3}}),
        ("ranking", {"marks": {"1": 1, "2": 2}}),
        ("ranking", {"marks": {"1": 1, "2": 2, "4": 3}}),
    ],
)
def test_a_rating_that_does_not_fit_is_refused(sqlite: Engine, kind: str, cast: dict[str, Any]) -> None:
    variants = ("base", "dpo", "sft")[: 3 if kind == "ranking" else 2]
    rater, *_ = seats(sqlite, a_study(sqlite, kind=kind, variants=variants))
    with pytest.raises(InvalidRatingError, match="must"):
        rater.cast("vote", rater.due().slot, **cast)
    assert n_rows(sqlite) == 0


def test_links_slots_and_order_are_refused_by_name(engine: Engine) -> None:
    created = a_study(engine)
    mine, other, _ = seats(engine, created)
    task, theirs = mine.due(), other.due()
    with pytest.raises(UnknownLinkError):
        next_task(engine, "nobody")
    for slot in (theirs.slot, "no-such-slot"):
        with pytest.raises(NotAssignedError):
            mine.vote(slot)
    mine.vote(task.slot)
    later = mine.due()
    mine.cast("undo")
    with pytest.raises(OutOfOrderError, match="due"):
        mine.vote(later.slot)
    with pytest.raises(OutOfOrderError, match="change"):
        mine.cast("change", task.slot, verdict="tie")
    (new,) = seats(engine, created, renew_link(engine, created.study, "rater-1"), clock=mine.clock)
    with pytest.raises(UnknownLinkError):
        mine.task()
    assert new.due().slot == task.slot
    revoke_link(engine, created.study, "rater-1")
    with pytest.raises(RevokedLinkError):
        new.task()
    assert n_rows(engine) == 2


def test_a_slot_that_was_not_shown_cannot_be_rated(engine: Engine) -> None:
    rater, *_ = seats(engine, a_study(engine))
    with engine.begin() as connection:
        whose = "SELECT id FROM study_raters WHERE name = 'rater-1'"
        unseen = f"SELECT id FROM study_slots WHERE rater_id = ({whose}) AND position = 0"
        slot = connection.execute(text(unseen)).scalar_one()
    with pytest.raises(OutOfOrderError, match="shown"):
        rater.vote(slot)


def test_a_closed_study_keeps_what_it_has_and_takes_no_more(engine: Engine) -> None:
    created = a_study(engine)
    rater, *_ = seats(engine, created)
    rater.vote()
    closed = close_study(engine, created.study.name)
    assert not closed.is_open
    assert close_study(engine, created.study.name) == closed
    for refused in (rater.task, lambda: rater.cast("undo")):
        with pytest.raises(StudyClosedError):
            refused()
    assert welcome(engine, rater.token).is_closed
    assert n_rows(engine) == 1


def test_ratings_cannot_be_altered_or_removed(engine: Engine) -> None:
    seats(engine, a_study(engine))[0].vote()
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
    rater, *_ = seats(engine, a_study(engine))
    slot, sent = rater.due().slot, list[str]()

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    rater.vote(slot)
    rater.due()
    event.remove(engine, "before_cursor_execute", note)
    assert len([statement for statement in sent if not statement.startswith("BEGIN")]) == 10


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_is_done_takes_over_from_who_left_and_nobody_rates_an_item_twice(engine: Engine) -> None:
    created = a_study(engine, n_prompts=9, panel={"raters": 3, "overlap": 2}, lease_minutes=10)
    away, *here = seats(engine, created)
    left = away.due().slot
    assert [rater.rate(favouring("sft")) for rater in here] == [6, 6]
    assert isinstance(here[0].task(), Finished)  # the lease still holds
    away.clock.pass_minutes(11)
    assert sum(rater.rate(favouring("sft")) for rater in here) == 6
    with pytest.raises(TakenOverError):
        away.vote(left)
    assert isinstance(away.task(), Finished)
    with engine.begin() as connection:
        per_item = connection.execute(
            text(
                "SELECT s.item_id, count(*), count(DISTINCT r.rater_id) FROM ratings r "
                "JOIN study_slots s ON s.id = r.slot_id GROUP BY s.item_id"
            )
        ).all()
    assert [(n, different) for _, n, different in per_item] == [(2, 2)] * 9


def test_a_rater_who_comes_back_in_time_keeps_the_item(engine: Engine) -> None:
    slow, *quick = seats(engine, a_study(engine, panel={"raters": 3, "overlap": 2}, lease_minutes=10))
    slot = slow.due().slot
    slow.clock.pass_minutes(11)  # gone for longer than a lease, but nobody took the item
    assert slow.vote(slot).is_new
    for rater in quick:
        rater.rate(favouring("sft"))
    assert slow.due()
