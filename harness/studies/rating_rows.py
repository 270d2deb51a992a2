"""Ratings read back for the owner: every slot with how it stands now, and whose replies stood on which side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Engine, select

from harness.composing import compose
from harness.studies.item_schedule import SlotKind
from harness.studies.items import ItemReply, shown_order
from harness.studies.sql_schema import items, raters, ratings, slots
from harness.studies.studies import Study, stored_item
from harness.types import Message, Rating, VoteVerdict

UNDO = "undo"
_NOTHING = SimpleNamespace(reason="", comment="", shown_at=None, cast_at=None)  # that a rater said of a slot


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedSlot:
    """One showing and what came of it."""

    slot: str
    kind: SlotKind
    state: str  # pending | rated | skipped | released
    rater: str
    is_rehearsal: bool
    is_revoked: bool  # the rater's link
    item_id: int
    prompt_id: str
    cluster: str
    rank: int  # of the prompt in the order that raters share
    probability: float | None
    messages: tuple[Message, ...]
    replies: tuple[ItemReply, ...]  # as the item holds them
    is_flipped: bool  # the second reply stood left
    rating: Rating | None  # None: pending or skipped
    reason: str  # of a skip
    comment: str  # beside a vote
    shown_at: float | None
    cast_at: float | None

    @property
    def shown(self) -> tuple[ItemReply, ...]:
        """The replies from the first place on."""
        order = shown_order(self.slot, len(self.replies), is_flipped=self.is_flipped)
        return tuple(self.replies[i] for i in order)

    @property
    def verdict(self) -> VoteVerdict | None:
        """The vote as it was seen, by sides; None without one."""
        return None if self.rating is None else self.rating.verdict

    @property
    def marks(self) -> Mapping[str, float]:
        """Criterion -> mark, of a ranking place -> rank; empty of a vote, and before the rating."""
        return {} if self.rating is None else self.rating.marks

    @property
    def ranks(self) -> dict[str, int]:
        """Variant -> rank, of a ranking; empty of anything else."""
        if self.rating is None or len(self.replies) < 3:
            return {}
        return {reply.variant: int(self.marks[str(place)]) for place, reply in enumerate(self.shown, start=1)}

    @property
    def seconds(self) -> float | None:
        """From the first showing to the rating; None where it is not known, as of imported ratings."""
        return None if self.shown_at is None or self.cast_at is None else self.cast_at - self.shown_at or None

    @property
    def winner(self) -> str | None:
        """The preferred variant, "tie" or "both_bad"; None without a vote."""
        if self.verdict not in ("left", "right"):
            return self.verdict
        return self.shown[self.verdict == "right"].variant

    @property
    def first_wins(self) -> float | None:
        """1, ½ or 0: the vote for the item's first reply; ties and "both bad" are ½."""
        if self.winner is None:
            return None
        return {self.replies[0].variant: 1.0, self.replies[1].variant: 0.0}.get(self.winner, 0.5)


def read_rows(engine: Engine, study: Study) -> list[RatedSlot]:
    """Every slot of a study, in each rater's order."""
    with engine.begin() as connection:
        # Ids grow along the chain of a slot's ratings: the last one read says how it stands.
        of_study = select(ratings).join(slots, slots.c.id == ratings.c.slot_id).where(slots.c.study_id == study.id)
        newest: dict[str, Any] = {row.slot_id: row for row in connection.execute(of_study.order_by(ratings.c.id)).all()}
        joined = (
            select(slots, raters.c.name, raters.c.is_rehearsal, raters.c.revoked_at)
            .join(raters, raters.c.id == slots.c.rater_id)
            .where(slots.c.study_id == study.id)
            .order_by(slots.c.rater_id, slots.c.position)
        )
        found = connection.execute(joined).all()
        ranked = connection.execute(select(items).where(items.c.study_id == study.id)).all()
    stored = {row.id: (stored_item(row), int(row.rank)) for row in ranked}
    rows = []
    for row in found:
        item, rank = stored[row.item_id]
        last = newest.get(row.id)
        if last is None or last.action == UNDO:
            last = _NOTHING
        rows.append(
            compose(
                RatedSlot,
                last,
                item,
                row,
                slot=row.id,
                rater=row.name,
                is_revoked=row.revoked_at is not None,
                rank=rank,
                rating=Rating(
                    comparison_id=row.id,
                    rater=row.name,
                    verdict=last.verdict,
                    marks=last.marks,
                    is_rehearsal=last.is_rehearsal,
                )
                if last is not _NOTHING and row.state == "rated"
                else None,
            )
        )
    return rows


def counted(rows: Sequence[RatedSlot], *, excluded: frozenset[str] = frozenset()) -> list[RatedSlot]:
    """What a result may rest on: main items that were rated, by raters who count, never in rehearsal."""
    return [r for r in panel(rows, excluded=excluded) if r.rating is not None]


def panel(rows: Sequence[RatedSlot], *, excluded: frozenset[str] = frozenset()) -> list[RatedSlot]:
    """Main slots of raters who count, rated or not."""
    return [
        r for r in rows if r.kind == "main" and r.state != "released" and not r.is_rehearsal and r.rater not in excluded
    ]
