"""What a rater's page gets: the next task, blind. No variant, judge, score, or id that links replies of one variant.

`next_task` stores what it shows, and on which side, before it returns. Asking again before a rating is given (a
refresh, another device, a second tab) gives the same task.

Every slot belongs to one rater. Showing it leases it; while its rater is away past the lease, a rater who has nothing
left to do may take over the item, where the study has more raters than an item needs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Float,
    Select,
    bindparam,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)

from harness.store.artifacts import from_json
from harness.store.database import writing
from harness.studies.crowd import draw_next, standing
from harness.studies.items import shown_order
from harness.studies.links import Entrant, enter, hash_token
from harness.studies.rankings import ranks_asked
from harness.studies.refusals import NotAssignedError
from harness.studies.sql_schema import items, raters, ratings, shows, slots, studies
from harness.studies.studies import Clock, new_slot
from harness.studies.study_design import CrowdDesign, StudyDesign, StudyKind
from harness.types import Criterion, Message

MIN_TIMED = 3  # ratings before a time left is told
N_PACES = 25  # latest ratings that it is told from
DONE = ("rated", "skipped")
# A part of queries: the id of the first slot in the order of `rater` that still waits.
DUE = (
    select(slots.c.id)
    .where(slots.c.rater_id == bindparam("rater"), slots.c.state == "pending")
    .order_by(slots.c.position)
    .limit(1)
    .correlate(None)
    .scalar_subquery()
)


def _slot(wanted: Any) -> Select[Any]:
    """A slot with its item and what its study asks."""
    return (
        select(slots.c.id, slots.c.kind, slots.c.is_flipped, slots.c.position, items.c.scene, items.c.replies)
        .add_columns(studies.c.question, studies.c.criteria)
        .join(items, items.c.id == slots.c.item_id)
        .join(studies, studies.c.id == slots.c.study_id)
        .where(slots.c.id == wanted)
    )


# Built once: what a page asks at every vote.
_DUE_SLOT, _NAMED_SLOT = _slot(DUE), _slot(bindparam("slot"))
_INSERT = insert(shows)
_LEASE = update(slots).where(slots.c.id == bindparam("slot")).values(leased_until=bindparam("until"))
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
_BEFORE = (
    select(ratings.c.marks)
    .where(ratings.c.slot_id == bindparam("slot"), ratings.c.action == "vote")
    .order_by(ratings.c.id.desc())
    .limit(1)
)
_PROGRESS = union_all(_COUNTED, select(_PACED))


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
    scene: tuple[Message, ...]  # the conversation so far; the assistant is the character whose next line is rated
    replies: tuple[str, ...]  # left and right, or the one to mark
    criteria: tuple[Criterion, ...]  # to mark; empty: a vote, or a ranking
    is_practice: bool
    is_rehearsal: bool
    can_undo: bool
    progress: TaskProgress
    ranks: tuple[int, ...] = ()  # of a ranking: which are asked for, in turn; 1 is best
    before: Mapping[str, int] = field(default_factory=dict)  # marks that were taken back
    takes_comment: bool = False

    @property
    def is_best_worst(self) -> bool:
        """Whether the best and the worst are asked for alone."""
        return len(self.ranks) == 2 and self.ranks[1] == len(self.replies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Nothing is left for this rater (for now, where others may leave work behind)."""

    n_done: int
    thanks: str = ""  # in the study's words
    code: str = ""  # of a crowd: to be given to the site that sent them
    back: str = ""  # where they go then
    is_screened_out: bool = False
    is_rehearsal: bool
    can_undo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdWelcome:
    """What a stranger reads before the first item."""

    design: CrowdDesign
    has_agreed: bool
    language: str
    minutes: int  # that it will take, at the pace that the study foretells
    pay: float  # for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What a rater's first page says."""

    study: str
    question: str
    kind: StudyKind
    criteria: tuple[Criterion, ...]
    is_rehearsal: bool
    is_closed: bool
    has_begun: bool  # something was shown before: a returning rater
    language: str  # of buttons and instructions, as the study declares
    progress: TaskProgress
    crowd: CrowdWelcome | None  # came by an open link


def welcome(engine: Engine, token: str) -> Welcome:
    """Who the link is for; answers for a closed study too.

    Raises UnknownLinkError, RevokedLinkError: the link leads nowhere.
    """
    with engine.begin() as connection:
        entrant = enter(connection, token, now=None)
        study = connection.execute(select(studies).where(studies.c.id == entrant.study_id)).one()
        seen = select(func.count()).select_from(shows).where(shows.c.rater_id == entrant.rater_id)
        return Welcome(
            study=study.name,
            question=study.question,
            kind=study.kind,
            criteria=_criteria(study.criteria),
            is_rehearsal=entrant.is_rehearsal,
            is_closed=entrant.is_closed,
            has_begun=connection.execute(seen).scalar_one() > 0,
            language=StudyDesign.model_validate(study.design).spoken,
            progress=_progress(connection, entrant),
            crowd=None
            if entrant.crowd is None
            else CrowdWelcome(
                design=entrant.crowd,
                has_agreed=entrant.has_agreed,
                language=entrant.arrival.get("language", ""),
                minutes=entrant.crowd.minutes(study.design["attention"]),
                pay=entrant.crowd.pay(study.design["attention"]),
            ),
        )


def spoken_in(engine: Engine, token: str) -> str:
    """The language of the study that a link is of, withdrawn or not; English where it declares none."""
    digest = hash_token(token)
    of_rater = select(raters.c.study_id).where(raters.c.token_hash == digest)
    query = select(studies.c.design).where(or_(studies.c.open_hash == digest, studies.c.id.in_(of_rater)))
    with engine.begin() as connection:
        design = connection.execute(query).scalar()
    return "" if design is None else StudyDesign.model_validate(design).spoken or "en"


def next_task(engine: Engine, token: str, *, clock: Clock = time.time) -> RatingTask | Finished:
    """The task that is due, leased to this rater and recorded as shown.

    Raises UnknownLinkError, RevokedLinkError, StudyClosedError: see `links.enter`.
    """
    now = clock()
    with writing(engine) as connection:
        entrant = enter(connection, token, now=now)
        slot = connection.execute(_DUE_SLOT, {"rater": entrant.rater_id}).one_or_none()
        if entrant.crowd is not None:
            slot = _drawn_slot(connection, entrant, entrant.crowd, slot, now=now)
        elif slot is None:
            taken = _take_over(connection, entrant, now=now)
            slot = connection.execute(_NAMED_SLOT, {"slot": taken}).one_or_none()
        progress = _progress(connection, entrant)
        if slot is None:
            return _finished(connection, entrant, progress)
        connection.execute(_LEASE, {"slot": slot.id, "until": now + entrant.lease_seconds})
        shown = {"slot_id": slot.id, "rater_id": entrant.rater_id, "is_flipped": slot.is_flipped, "shown_at": now}
        connection.execute(_INSERT, shown)
        before = (
            connection.execute(_BEFORE, {"slot": slot.id}).scalar() if slot.criteria or len(slot.replies) > 2 else None
        )
        return _task(entrant, slot, progress, before=before or {})


def _drawn_slot(connection: Connection, entrant: Entrant, crowd: CrowdDesign, due: Any, *, now: float) -> Any:
    """What is due for one of a crowd; nothing once practice has shown that they cannot go on."""
    if not entrant.has_agreed:
        raise NotAssignedError("items are shown to those who agree to take part; load the page again and read it")
    if standing(connection, entrant, crowd).is_screened_out:
        return None
    draw_next(connection, entrant, crowd, due=None if due is None else int(due.position), now=now)
    return connection.execute(_DUE_SLOT, {"rater": entrant.rater_id}).one_or_none()


def _take_over(connection: Connection, entrant: Entrant, *, now: float) -> str | None:
    """A waiting item of a rater who is away, as a new slot of this one on the same side; None when there is none.

    An item counts as waiting when its lease has run out (or never began), and its rater was not seen for as long as a
    lease lasts (one who never came: since the link was made), or has lost the link. The old slot is released, never
    deleted.
    """
    if entrant.is_rehearsal:
        return None
    own = select(slots.c.item_id).where(slots.c.rater_id == entrant.rater_id)
    last_seen = func.coalesce(raters.c.seen_at, raters.c.created_at)
    away = or_(last_seen < now - entrant.lease_seconds, raters.c.revoked_at.is_not(None))
    candidates = (
        select(slots)
        .join(raters, raters.c.id == slots.c.rater_id)
        .where(
            slots.c.study_id == entrant.study_id,
            slots.c.kind == "main",
            slots.c.state == "pending",
            or_(slots.c.leased_until.is_(None), slots.c.leased_until < now),
            raters.c.is_rehearsal.is_(False),
            away,
            slots.c.item_id.not_in(own),
        )
        .order_by(slots.c.position, slots.c.id)
        .limit(1)
        .with_for_update(of=slots, skip_locked=True)
    )
    found = connection.execute(candidates).one_or_none()
    if found is None:
        return None
    connection.execute(update(slots).where(slots.c.id == found.id).values(state="released"))
    last = select(func.max(slots.c.position)).where(slots.c.rater_id == entrant.rater_id)
    taken = new_slot(
        study_id=entrant.study_id,
        item_id=found.item_id,
        rater_id=entrant.rater_id,
        kind="main",
        position=int(connection.execute(last).scalar() or 0) + 1,
        is_flipped=found.is_flipped,
    )
    connection.execute(insert(slots).values(**taken))
    return str(taken["id"])


def _finished(connection: Connection, entrant: Entrant, progress: TaskProgress) -> Finished:
    thanks, done = str(entrant.design.get("thanks", "")), progress.n_done
    end = Finished(n_done=done, thanks=thanks, is_rehearsal=entrant.is_rehearsal, can_undo=done > 0)
    if (crowd := entrant.crowd) is None:
        return end
    if standing(connection, entrant, crowd).is_screened_out:
        return replace(end, is_screened_out=True, can_undo=False)
    return replace(end, code=crowd.code, back=crowd.back)


def _task(entrant: Entrant, slot: Any, progress: TaskProgress, *, before: Mapping[str, int]) -> RatingTask:
    texts = [reply["text"] for reply in slot.replies]
    return RatingTask(
        slot=slot.id,
        question=slot.question,
        scene=tuple(from_json(Message, message) for message in slot.scene),
        replies=tuple(texts[i] for i in shown_order(slot.id, len(texts), is_flipped=slot.is_flipped)),
        ranks=ranks_asked(len(texts), is_best_worst=bool(entrant.design.get("best_worst"))) if len(texts) > 2 else (),
        criteria=_criteria(slot.criteria),
        is_practice=slot.kind == "practice",
        is_rehearsal=entrant.is_rehearsal,
        can_undo=progress.n_done > 0,
        progress=progress,
        before=before,
        takes_comment=bool(entrant.design.get("comments")),
    )


def _criteria(stored: Any) -> tuple[Criterion, ...]:
    return tuple(from_json(Criterion, data) for data in stored)


def _progress(connection: Connection, entrant: Entrant) -> TaskProgress:
    """How many slots stand how, and the rater's latest paces: rows of one statement, told apart by their name."""
    rows = connection.execute(_PROGRESS, {"rater": entrant.rater_id}).all()
    counts = {row.name: int(row.value) for row in rows if row.name != "pace"}
    paces = [row.value for row in rows if row.name == "pace"]
    n_done = sum(counts.get(state, 0) for state in DONE)
    n_left = counts.get("pending", 0)
    if entrant.crowd is not None:
        n_left += standing(connection, entrant, entrant.crowd).n_to_come
    left = statistics.median(paces) * n_left if len(paces) >= MIN_TIMED else None
    return TaskProgress(n_done=n_done, n_total=n_done + n_left, seconds_left=left)
