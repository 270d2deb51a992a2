"""Which slot is due for a rater, who holds it until when, and who takes over from a rater who left.

Every slot belongs to one rater. Showing it leases it; while its rater is away past the lease, a rater who has nothing
left to do may take over the item, where the study has more raters than an item needs.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from harness.studies.links import Entrant
from harness.studies.sql_schema import raters, slots
from harness.studies.studies import new_slot

# A part of queries: the id of the first slot in the order of `rater` that still waits.
DUE = (
    select(slots.c.id)
    .where(slots.c.rater_id == bindparam("rater"), slots.c.state == "pending")
    .order_by(slots.c.position)
    .limit(1)
    .correlate(None)
    .scalar_subquery()
)


def take_over(connection: Connection, entrant: Entrant, *, now: float) -> str | None:
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
