"""A crowd: people who come by one open link, agree, and get items one at a time where most are lacking.

Nothing is reserved before it is shown: an item is drawn when the one before is rated, and held as long as a lease.
Whoever leaves holds one item at most, and it goes to somebody else once the lease has run out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, case, func, insert, select, update

from harness.doors.text import repair_text
from harness.seeding import derive, stream
from harness.store.database import writing
from harness.studies.links import Entrant, Link, OpenLink, enter, hash_token
from harness.studies.refusals import CrowdFullError, InvalidRatingError, StudyClosedError, UnknownLinkError
from harness.studies.sql_schema import items, raters, ratings, slots, studies
from harness.studies.studies import Clock, insert_rater, new_slot
from harness.studies.study_design import CrowdDesign

STEP = 10  # between the places of two main items: checks stand between them
MAX_WORDS = 500  # of what a person or the site that sent them says
BETTER = "practice-0"  # of the two practice replies


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far one person is: promised, drawn, and whether practice let them on."""

    n_promised: int
    n_drawn: int  # main items
    is_screened_out: bool

    @property
    def n_to_come(self) -> int:
        """Main items that are promised and not drawn yet."""
        return 0 if self.is_screened_out else max(0, self.n_promised - self.n_drawn)


def enrol(engine: Engine, link: OpenLink, person: str, sent: Mapping[str, str], *, clock: Clock = time.time) -> str:
    """The key of a person who came by the open link; one who was here before goes on with theirs.

    Args:
        person: who they are: what the site that sent them calls them, or a random name of this browser's.
        sent: what that site said, kept for paying them (PROLIFIC_PID, STUDY_ID, SESSION_ID, workerId …).

    Raises:
        UnknownLinkError, StudyClosedError, CrowdFullError: nobody may enter.
    """
    token = link.person_token(person)
    with writing(engine) as connection:
        opened = studies.c.open_hash == hash_token(link.token)
        study = connection.execute(select(studies).where(opened).with_for_update()).one_or_none()
        if study is None:
            raise UnknownLinkError("`join` must be the open link of a study, got one that nobody has")
        of_study = raters.c.study_id == study.id
        digest = hash_token(token)[:32]
        known = select(raters.c.id).where(of_study, raters.c.person == digest)
        if connection.execute(known).one_or_none() is not None:
            return token
        if study.closed_at is not None:
            raise StudyClosedError("the study is closed: every rating given before is kept, and no more are taken")
        n, n_gone = connection.execute(select(func.count(), func.count(raters.c.revoked_at)).where(of_study)).one()
        if n - n_gone >= study.design["crowd"]["people"]:
            raise CrowdFullError("the study has all the people that it asked for; nobody else can begin")
        kept = {repair_text(name[:40]).text: repair_text(value[:MAX_WORDS]).text for name, value in sent.items()}
        key = Link(rater=f"person-{n + 1}", token=token, is_rehearsal=bool(study.design["rehearsal"]))
        insert_rater(connection, study.id, key, now=clock(), person=digest, arrival={"sent": kept})
    return token


def agree(engine: Engine, token: str, *, language: str, answers: Mapping[str, str], clock: Clock = time.time) -> None:
    """Note that a person agreed, in which language they read, and what they answered; then their practice is laid out.

    Raises InvalidRatingError: an answer is not among those offered, or holds what cannot be stored.
    """
    with writing(engine) as connection:
        entrant = enter(connection, token, now=clock())
        if (crowd := entrant.crowd) is None:
            raise UnknownLinkError("`rater` must be a link that the open link led to, got a rater's own")
        for question in crowd.questions:
            given = answers.get(question.ask, "")
            if (
                repair_text(given).n
                or len(given) > MAX_WORDS
                or (given and question.options and given not in question.options)
            ):
                raise InvalidRatingError(f"`{question.ask}` must be answered with one of its options, got another")
        if entrant.has_agreed:
            return
        arrival = {**entrant.arrival, "agreed_at": clock(), "language": language[:20], "answers": dict(answers)}
        connection.execute(update(raters).where(raters.c.id == entrant.rater_id).values(arrival=arrival))
        _lay_out(connection, entrant, n_items=crowd.items)


def _lay_out(connection: Connection, entrant: Entrant, *, n_items: int) -> None:
    """Practice at the beginning, checks spread between the main items that are still to be drawn."""
    rng = stream(derive(entrant.design["seed"], "crowd", entrant.name), "checks")
    held = select(items.c.id, items.c.purpose).where(items.c.study_id == entrant.study_id)
    of_study = connection.execute(held).all()
    practice = [row.id for row in of_study if row.purpose == "practice"]
    checks = [row.id for row in of_study if row.purpose == "attention"]
    places = sorted(rng.choice(n_items, size=min(len(checks), n_items), replace=False).tolist())
    laid = [(item, "practice", position) for position, item in enumerate(practice)]
    laid += [
        (c, "attention", STEP * (p + 1) + 5) for c, p in zip(rng.permutation(checks).tolist(), places, strict=False)
    ]
    for item, kind, position in laid:
        _insert(connection, entrant, int(item), kind=kind, position=position, is_flipped=bool(rng.integers(2)))


def standing(connection: Connection, entrant: Entrant, crowd: CrowdDesign) -> Standing:
    """Where one person is."""
    mine = (slots.c.rater_id == entrant.rater_id) & (slots.c.kind == "main") & (slots.c.state != "released")
    drawn = connection.execute(select(func.count()).select_from(slots).where(mine)).scalar_one()
    return Standing(n_promised=crowd.items, n_drawn=drawn, is_screened_out=_is_out(connection, entrant, crowd))


def _is_out(connection: Connection, entrant: Entrant, crowd: CrowdDesign) -> bool:
    """Whether practice is over and too little of it was right."""
    if not crowd.screening:
        return False
    mine = (slots.c.rater_id == entrant.rater_id) & (slots.c.kind == "practice")
    rows = connection.execute(select(slots.c.id, slots.c.state).where(mine)).all()
    if any(row.state == "pending" for row in rows):
        return False
    return sum(practice_is_right(connection, row.id) is True for row in rows) < crowd.screening


def practice_is_right(connection: Connection, slot: str) -> bool | None:
    """Whether the vote on a practice pair was for the reply that is better by construction; None where nothing is."""
    of_slot = (
        select(ratings.c.verdict, ratings.c.action, slots.c.is_flipped, items.c.replies)
        .join(slots, slots.c.id == ratings.c.slot_id)
        .join(items, items.c.id == slots.c.item_id)
        .where(slots.c.id == slot, slots.c.kind == "practice")
        .order_by(ratings.c.id.desc())
        .limit(1)
    )
    row = connection.execute(of_slot).one_or_none()
    if row is None or row.action == "undo" or len(row.replies) != 2:
        return None
    shown = [r["variant"] for r in row.replies][:: -1 if row.is_flipped else 1]
    return row.verdict in ("left", "right") and shown[row.verdict == "right"] == BETTER


def draw_next(connection: Connection, entrant: Entrant, crowd: CrowdDesign, *, due: int | None, now: float) -> None:
    """Draw the next main item where it comes before what is due (`due`, a position); release what was held too long.

    The item that is nearest to its ratings comes first, so that prompts are finished early; those on which everybody
    that is needed is at work come last, the least held first. Nobody gets an item twice.
    """
    connection.execute(select(studies.c.id).where(studies.c.id == entrant.study_id).with_for_update())  # one at a time
    stands = standing(connection, entrant, crowd)
    position = STEP * (stands.n_drawn + 1)
    if stands.n_to_come == 0 or (due is not None and due < position):
        return
    item = _next_item(connection, entrant, crowd, now=now)
    if item is None:
        return
    late = (slots.c.state == "pending") & (slots.c.kind == "main") & (slots.c.leased_until < now)
    connection.execute(update(slots).where(slots.c.item_id == item, late).values(state="released"))
    seed = derive(entrant.study_id, "side", entrant.name, item)
    is_flipped = _flips(connection, entrant, item, lot=bool(stream(seed, "side").integers(2)))
    place, until = _free(connection, entrant, position), now + entrant.lease_seconds
    _insert(connection, entrant, item, kind="main", position=place, is_flipped=is_flipped, leased_until=until)


def _next_item(connection: Connection, entrant: Entrant, crowd: CrowdDesign, *, now: float) -> int | None:
    done = func.sum(case((slots.c.state == "rated", 1), else_=0))
    held = func.sum(case(((slots.c.state == "pending") & (slots.c.leased_until >= now), 1), else_=0))
    others = slots.join(raters, raters.c.id == slots.c.rater_id)
    counted = (
        select(slots.c.item_id, done.label("done"), held.label("held"))
        .select_from(others)
        .where(slots.c.kind == "main", raters.c.is_rehearsal.is_(entrant.is_rehearsal), raters.c.revoked_at.is_(None))
        .group_by(slots.c.item_id)
        .subquery()
    )
    n_done, n_held = func.coalesce(counted.c.done, 0), func.coalesce(counted.c.held, 0)
    own = select(slots.c.item_id).where(slots.c.rater_id == entrant.rater_id)
    query = (
        select(items.c.id)
        .outerjoin(counted, counted.c.item_id == items.c.id)
        .where(items.c.study_id == entrant.study_id, items.c.purpose == "main", items.c.id.not_in(own))
        .where(n_done < crowd.overlap)
        .order_by(case((n_done + n_held < crowd.overlap, -n_done - n_held), else_=n_held), items.c.rank, items.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar()


def _flips(connection: Connection, entrant: Entrant, item: int, *, lot: bool) -> bool:
    """The side that the item has had less often; by lot where both are even."""
    seen = (slots.c.item_id == item) & (slots.c.state != "released")
    rows = connection.execute(select(slots.c.is_flipped).where(seen)).scalars().all()
    lean = 2 * sum(rows) - len(rows)
    return lot if lean == 0 else lean < 0


def _free(connection: Connection, entrant: Entrant, position: int) -> int:
    """The place itself, or the next one: an item that was released keeps its own."""
    taken = set(connection.execute(select(slots.c.position).where(slots.c.rater_id == entrant.rater_id)).scalars())
    return next(p for p in range(position, position + len(taken) + 1) if p not in taken)


def _insert(connection: Connection, entrant: Entrant, item: int, **placed: object) -> None:
    whose = {"study_id": entrant.study_id, "item_id": item, "rater_id": entrant.rater_id}
    connection.execute(insert(slots).values(**new_slot(**whose, **placed)))
