"""`cast_rating`: the one door through which every vote, mark, skip, change and undo enters the store.

A call either stores exactly one row or raises a named refusal and stores nothing. The idempotency key makes a repeated
call (a double click, a retry after a lost connection) give the first call's receipt.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, Integer, Select, bindparam, func, insert, select, update
from sqlalchemy import cast as cast_type
from sqlalchemy.exc import IntegrityError

from harness.doors.text import is_absent, repair_text
from harness.store.database import writing
from harness.studies.crowd import practice_is_right
from harness.studies.links import Entrant, enter
from harness.studies.rankings import is_ranking
from harness.studies.refusals import (
    AlreadyRatedError,
    InvalidRatingError,
    KeyReusedError,
    NotAssignedError,
    OutOfOrderError,
    TakenOverError,
    TooManySkipsError,
)
from harness.studies.serving import DONE, DUE
from harness.studies.sql_schema import items, ratings, shows, slots, studies
from harness.studies.studies import Clock
from harness.types import VoteVerdict

Action = Literal["vote", "skip", "change", "undo"]
VERDICTS: tuple[VoteVerdict, ...] = get_args(VoteVerdict)
MAX_KEY = 80
MAX_REASON = 500
MIN_SKIPS = 3  # that every rater has, however few items
_STATE = {"vote": "rated", "change": "rated", "skip": "skipped", "undo": "pending"}


def _standing(wanted: Any) -> Select[Any]:
    """A slot, how it stands, and all that an action is checked against: one statement, built once, for every vote."""
    given = ratings.alias()
    newest = select(func.max(given.c.id)).where(given.c.slot_id == slots.c.id).scalar_subquery()
    shown = select(func.min(shows.c.shown_at)).where(
        shows.c.slot_id == slots.c.id, shows.c.rater_id == slots.c.rater_id
    )
    return (
        select(slots.c.id, slots.c.rater_id, slots.c.state, studies.c.kind, studies.c.criteria)
        .add_columns(
            items.c.replies,
            ratings.c.id.label("newest_id"),
            ratings.c.action.label("newest_action"),
            DUE.label("due_id"),
            shown.scalar_subquery().label("first_shown"),
            shown.where(shows.c.shown_at >= ratings.c.cast_at).scalar_subquery().label("shown_again"),
        )
        .join(studies, studies.c.id == slots.c.study_id)
        .join(items, items.c.id == slots.c.item_id)
        .outerjoin(ratings, ratings.c.id == newest)
        .where(slots.c.id == wanted)
        .with_for_update(of=slots)
    )


_NAMED = _standing(bindparam("slot"))
_LAST_DONE = _standing(  # the slot of the newest action that still stands
    select(slots.c.id)
    .join(ratings, ratings.c.slot_id == slots.c.id)
    .where(slots.c.state.in_(DONE), slots.c.rater_id == bindparam("rater"))
    .order_by(ratings.c.id.desc())
    .limit(1)
    .correlate(None)
    .scalar_subquery()
)
_KNOWN = select(ratings).where(ratings.c.rater_id == bindparam("rater"), ratings.c.key == bindparam("key"))
_INSERT = insert(ratings).returning(ratings.c.id)
_SET_STATE = update(slots).where(slots.c.id == bindparam("slot")).values(state=bindparam("to"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """What a rater did."""

    key: str  # idempotency key: new for every action, the same for its retries
    action: Action
    slot: str | None = None  # None for undo: the newest action is taken back
    verdict: VoteVerdict | None = None  # as seen: sides, not variants
    marks: Mapping[str, int] = field(default_factory=dict)  # criterion -> mark
    reason: str = ""  # of a skip
    comment: str = ""  # beside a vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The acknowledgement: the row is on disk."""

    rating_id: int
    slot: str
    is_new: bool  # False: this key was here before
    is_right: bool | None = None  # practice of a crowd: whether it was the reply that is better


def cast_rating(engine: Engine, token: str, cast: Cast, *, clock: Clock = time.time) -> Receipt:
    """Store one action of a rater.

    Raises:
        UnknownLinkError, RevokedLinkError, StudyClosedError: see `links.enter`.
        NotAssignedError, TakenOverError: the slot is somebody else's.
        OutOfOrderError: the slot is not the one that is due, was never shown, or there is nothing to undo.
        AlreadyRatedError: the slot has its rating.
        InvalidRatingError: the rating does not fit what was shown.
        KeyReusedError: the key came before with another rating.
    """
    if not 0 < len(cast.key) <= MAX_KEY:
        raise InvalidRatingError(f"`key` must hold 1 to {MAX_KEY} characters, got {len(cast.key)}")
    try:
        return _cast(engine, token, cast, clock())
    except IntegrityError:
        # Another tab was faster by a moment; now its row is there to be seen.
        return _cast(engine, token, cast, clock())


def _cast(engine: Engine, token: str, cast: Cast, now: float) -> Receipt:
    with writing(engine) as connection:
        entrant = enter(connection, token, now=now)
        if (known := _known(connection, entrant, cast)) is not None:
            return known
        slot = _slot(connection, entrant, cast)
        _check_order(cast, slot)
        _check_rating(cast, slot, entrant)
        if cast.action == "skip":
            _check_skips(connection, entrant)
        values = {key: getattr(cast, key) for key in ("key", "action", "verdict", "reason", "comment")} | {
            "slot_id": slot.id,
            "rater_id": entrant.rater_id,
            "marks": dict(cast.marks),
            "shown_at": _first_shown(slot),
            "cast_at": now,
            "is_rehearsal": entrant.is_rehearsal,
            "supersedes": slot.newest_id,
        }
        rating_id = connection.execute(_INSERT, values).scalar_one()
        connection.execute(_SET_STATE, {"slot": slot.id, "to": _STATE[cast.action]})
        is_right = practice_is_right(connection, slot.id) if entrant.crowd and cast.action == "vote" else None
    return Receipt(rating_id=int(rating_id), slot=slot.id, is_new=True, is_right=is_right)


def _known(connection: Connection, entrant: Entrant, cast: Cast) -> Receipt | None:
    """The receipt of an earlier call with this key."""
    row = connection.execute(_KNOWN, {"rater": entrant.rater_id, "key": cast.key}).one_or_none()
    if row is None:
        return None
    given = (cast.action, cast.verdict, dict(cast.marks), cast.reason, cast.comment)
    same = (row.action, row.verdict, row.marks, row.reason, row.comment) == given
    if not same or (cast.slot is not None and row.slot_id != cast.slot):
        raise KeyReusedError("`key` must be new for a new rating, got one that another rating came under")
    return Receipt(rating_id=int(row.id), slot=row.slot_id, is_new=False)


def _slot(connection: Connection, entrant: Entrant, cast: Cast) -> Any:
    """The slot that an action is about."""
    query = _LAST_DONE if cast.action == "undo" else _NAMED
    row = connection.execute(query, {"rater": entrant.rater_id, "slot": cast.slot or ""}).one_or_none()
    if row is None and cast.action == "undo":
        raise OutOfOrderError("there is nothing to undo yet")
    if row is None or row.rater_id != entrant.rater_id:
        raise NotAssignedError("`slot` must be one of this rater's, got another; load the page again")
    if row.state == "released":
        raise TakenOverError("the item went to another rater while this page was left alone; load the page again")
    return row


def _check_order(cast: Cast, slot: Any) -> None:
    is_done = slot.state in DONE
    if cast.action == "change" and not is_done:
        raise OutOfOrderError("a change needs a rating to change, and this slot has none; cast a vote instead")
    if cast.action in ("change", "undo"):
        return
    if is_done:
        raise AlreadyRatedError("this slot has its rating already, and it is kept; undo it to rate it anew")
    if slot.due_id != slot.id:
        raise OutOfOrderError("`slot` must be the one that is due, got a later one; load the page again")


def _check_skips(connection: Connection, entrant: Entrant) -> None:
    """A share of a rater's items, as the study declares it, and never fewer than `MIN_SKIPS`."""
    counted = select(func.count(), func.sum(cast_type(slots.c.state == "skipped", Integer)))
    of_rater = (slots.c.rater_id == entrant.rater_id) & (slots.c.state != "released")
    n, skipped = connection.execute(counted.where(of_rater)).one()
    most = max(MIN_SKIPS, round(entrant.design.get("skips", 1.0) * n))
    if (skipped or 0) >= most:
        raise TooManySkipsError(f"at most {most} of {n} items may be skipped, got one more; rate it as best you can")


def _check_rating(cast: Cast, slot: Any, entrant: Entrant) -> None:
    for name, words in (("reason", cast.reason), ("comment", cast.comment)):
        if repair_text(words).n:
            raise InvalidRatingError(f"`{name}` must be text that can be stored, got a lone surrogate or NUL in it")
        if len(words) > MAX_REASON:
            raise InvalidRatingError(f"`{name}` must hold at most {MAX_REASON} characters, got {len(words)}")
    if cast.action in ("skip", "undo"):
        if cast.verdict is not None or cast.marks or cast.comment:
            raise InvalidRatingError(f"`verdict`, `marks` and `comment` must be empty for {cast.action}")
        if cast.action == "skip" and is_absent(cast.reason):
            raise InvalidRatingError("`reason` must say why an item is skipped, got nothing")
    elif slot.kind == "likert":
        _check_marks(cast, slot)
    elif slot.kind == "ranking":
        _check_ranking(cast, len(slot.replies), is_best_worst=bool(entrant.design.get("best_worst")))
    elif cast.verdict not in VERDICTS or cast.marks:
        raise InvalidRatingError(f"`verdict` must be one of {', '.join(VERDICTS)}, got {cast.verdict!r}")


def _check_ranking(cast: Cast, n: int, *, is_best_worst: bool) -> None:
    if cast.verdict is not None or not is_ranking(cast.marks, n_replies=n, is_best_worst=is_best_worst):
        raise InvalidRatingError(f"`marks` must give each of {n} places its rank, got {dict(cast.marks)}")


def _check_marks(cast: Cast, slot: Any) -> None:
    scales = {c["name"]: c["scale"] for c in slot.criteria}
    if cast.verdict is not None or set(cast.marks) != set(scales):
        raise InvalidRatingError(f"`marks` must hold one mark for each of {', '.join(scales)}, got {dict(cast.marks)}")
    for name, mark in cast.marks.items():
        low, high = scales[name]
        if isinstance(mark, bool) or not isinstance(mark, int) or not low <= mark <= high:
            raise InvalidRatingError(f"mark of `{name}` must be a whole number from {low} to {high}, got {mark!r}")


def _first_shown(slot: Any) -> float:
    """When the rater first saw the slot (again, after an undo)."""
    if slot.newest_action == "undo" and slot.shown_again is not None:
        return float(slot.shown_again)
    if slot.first_shown is None:
        raise OutOfOrderError("`slot` must have been shown before it is rated, got one that was not; load the page")
    return float(slot.first_shown)
