"""What a rater's page gets: the next task, blind. No variant, judge, score, or id that links replies of one variant.

`next_task` stores what it shows, and on which side, before it returns. Asking again before a rating is given (a
refresh, another device, a second tab) gives the same task.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Float, Select, bindparam, cast, func, insert, literal, select, union_all

from harness.store.artifacts import from_json
from harness.store.database import writing
from harness.studies.design import StudyKind
from harness.studies.leases import DUE, lease, take_over
from harness.studies.links import Entrant, enter
from harness.studies.schema import items, ratings, shows, slots, studies
from harness.studies.studies import Clock
from harness.types import Criterion

MIN_TIMED = 3  # ratings before a time left is told
N_PACES = 25  # latest ratings that it is told from
DONE = ("rated", "skipped")


def _slot(wanted: Any) -> Select[Any]:
    """A slot with its item and what its study asks."""
    return (
        select(slots.c.id, slots.c.kind, slots.c.is_flipped, items.c.scene, items.c.replies)
        .add_columns(studies.c.question, studies.c.criteria, studies.c.design)
        .join(items, items.c.id == slots.c.item_id)
        .join(studies, studies.c.id == slots.c.study_id)
        .where(slots.c.id == wanted)
    )


# Built once: what a page asks at every vote.
_DUE_SLOT, _NAMED_SLOT = _slot(DUE), _slot(bindparam("slot"))
_INSERT = insert(shows)
_COUNTED = (
    select(slots.c.state.label("name"), cast(func.count(), Float).label("value"))
    .where(slots.c.rater_id == bindparam("rater"))
    .group_by(slots.c.state)
)
_PACED = (
    select(literal("pace").label("name"), (ratings.c.cast_at - ratings.c.shown_at).label("value"))
    .where(ratings.c.rater_id == bindparam("rater"), ratings.c.action == "vote")
    .order_by(ratings.c.id.desc())
    .limit(N_PACES)
    .subquery()
)
_PROGRESS = union_all(_COUNTED, select(_PACED))


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneLine:
    """One line of the scene so far."""

    speaker: str  # the character; empty where the data name nobody
    text: str
    is_answerer: bool  # the character whose next line is rated


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One criterion to mark."""

    name: str
    definition: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far a rater is."""

    n_done: int
    n_total: int
    seconds_left: float | None  # at the rater's own pace; None at the beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingTask:
    """One thing to rate, as the browser may see it."""

    slot: str  # random; also the key of widgets
    question: str
    scene: tuple[SceneLine, ...]
    answerer: str  # whose line it is; may be empty
    replies: tuple[str, ...]  # left and right, or the one to mark
    scales: tuple[Scale, ...]  # empty: a vote
    is_practice: bool
    is_rehearsal: bool
    can_undo: bool
    progress: TaskProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Nothing is left for this rater (for now, where others may leave work behind)."""

    n_done: int
    is_rehearsal: bool
    can_undo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What a rater's first page says."""

    study: str
    question: str
    kind: StudyKind
    scales: tuple[Scale, ...]
    is_rehearsal: bool
    is_closed: bool
    has_begun: bool  # something was shown before: a returning rater
    progress: TaskProgress


def welcome(engine: Engine, token: str) -> Welcome:
    """Who the link is for; answers for a closed study too.

    Raises:
        UnknownLinkError, RevokedLinkError: the link leads nowhere.
    """
    with engine.begin() as connection:
        entrant = enter(connection, token, needs_open=False)
        study = connection.execute(select(studies).where(studies.c.id == entrant.study_id)).one()
        seen = select(func.count()).select_from(shows).where(shows.c.rater_id == entrant.rater_id)
        return Welcome(
            study=study.name,
            question=study.question,
            kind=study.kind,
            scales=_scales(study.criteria),
            is_rehearsal=entrant.is_rehearsal,
            is_closed=entrant.is_closed,
            has_begun=connection.execute(seen).scalar_one() > 0,
            progress=_progress(connection, entrant.rater_id),
        )


def next_task(engine: Engine, token: str, *, clock: Clock = time.time) -> RatingTask | Finished:
    """The task that is due, leased to this rater and recorded as shown.

    Raises:
        UnknownLinkError, RevokedLinkError, StudyClosedError: see `links.enter`.
    """
    now = clock()
    with writing(engine) as connection:
        entrant = enter(connection, token, now=now)
        slot = connection.execute(_DUE_SLOT, {"rater": entrant.rater_id}).one_or_none()
        if slot is None:
            seconds = _lease_seconds(connection, entrant)
            taken = take_over(connection, entrant, now=now, lease_seconds=seconds)
            slot = connection.execute(_NAMED_SLOT, {"slot": taken}).one_or_none()
        progress = _progress(connection, entrant.rater_id)
        if slot is None:
            done = progress.n_done
            return Finished(n_done=done, is_rehearsal=entrant.is_rehearsal, can_undo=done > 0)
        lease(connection, slot.id, until=now + 60 * float(slot.design["lease_minutes"]))
        shown = {"slot_id": slot.id, "rater_id": entrant.rater_id, "is_flipped": slot.is_flipped, "shown_at": now}
        connection.execute(_INSERT, shown)
        return _task(entrant, slot, progress)


def _lease_seconds(connection: Connection, entrant: Entrant) -> float:
    design = connection.execute(select(studies.c.design).where(studies.c.id == entrant.study_id)).scalar_one()
    return 60 * float(design["lease_minutes"])


def _task(entrant: Entrant, slot: Any, progress: TaskProgress) -> RatingTask:
    texts = [reply["text"] for reply in slot.replies]
    answerer = next((m["name"] for m in reversed(slot.scene) if m["role"] == "assistant" and m["name"]), "")
    return RatingTask(
        slot=slot.id,
        question=slot.question,
        scene=tuple(
            SceneLine(speaker=m["name"] or "", text=m["content"], is_answerer=m["role"] == "assistant")
            for m in slot.scene
        ),
        answerer=answerer,
        replies=tuple(reversed(texts) if slot.is_flipped else texts),
        scales=_scales(slot.criteria),
        is_practice=slot.kind == "practice",
        is_rehearsal=entrant.is_rehearsal,
        can_undo=progress.n_done > 0,
        progress=progress,
    )


def _scales(criteria: Any) -> tuple[Scale, ...]:
    known = [from_json(Criterion, data) for data in criteria]
    return tuple(Scale(name=c.name, definition=c.definition, low=c.scale[0], high=c.scale[1]) for c in known)


def _progress(connection: Connection, rater_id: int) -> TaskProgress:
    """How many slots stand how, and the rater's latest paces: rows of one statement, told apart by their name."""
    rows = connection.execute(_PROGRESS, {"rater": rater_id}).all()
    counts = {row.name: int(row.value) for row in rows if row.name != "pace"}
    paces = [row.value for row in rows if row.name == "pace"]
    n_done = sum(counts.get(state, 0) for state in DONE)
    n_left = counts.get("pending", 0)
    left = statistics.median(paces) * n_left if len(paces) >= MIN_TIMED else None
    return TaskProgress(n_done=n_done, n_total=n_done + n_left, seconds_left=left)
