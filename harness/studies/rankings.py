"""Rankings: three to six replies put in order, or the best and the worst of them; and the same as votes on pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.studies.rating_rows import RatedSlot
from harness.types import VoteVerdict

PAIRS = 100  # more than the pairs of one item: ids of items that are made of them


def ranks_asked(n_replies: int, *, is_best_worst: bool) -> tuple[int, ...]:
    """The ranks that a rater gives, in turn; what is left then follows by itself."""
    return (1, n_replies) if is_best_worst else tuple(range(1, n_replies))


def whole_ranking(given: Mapping[str, int], *, n_replies: int, is_best_worst: bool) -> dict[str, int]:
    """Place -> rank with those that follow by themselves: the last one, or all between best and worst (rank 2)."""
    rest = 2 if is_best_worst else n_replies
    return {str(place): given.get(str(place), rest) for place in range(1, n_replies + 1)}


def is_ranking(marks: Mapping[str, int], *, n_replies: int, is_best_worst: bool) -> bool:
    """Whether every place has one rank, and every rank its place."""
    asked = ranks_asked(n_replies, is_best_worst=is_best_worst)
    places = [str(place) for place in range(1, n_replies + 1)]
    follows = [2] * (n_replies - 2) if is_best_worst else [n_replies]
    return sorted(marks) == sorted(places) and sorted(marks.values()) == sorted([*asked, *follows])


def as_pairs(rows: Sequence[RatedSlot]) -> list[RatedSlot]:
    """Each ranked row as one row for every pair of its replies; who shares a rank is even. Other rows as they are."""
    return list(itertools.chain.from_iterable(_pairs(row) if len(row.replies) > 2 else [row] for row in rows))


def _pairs(row: RatedSlot) -> Iterable[RatedSlot]:
    order = [reply.variant for reply in row.shown]
    for number, (a, b) in enumerate(itertools.combinations(row.replies, 2)):
        is_flipped = order.index(a.variant) > order.index(b.variant)
        yield replace(
            row,
            item_id=PAIRS * row.item_id + number,
            replies=(a, b),
            is_flipped=is_flipped,
            rating=None
            if row.rating is None
            else replace(row.rating, verdict=_verdict(row, a.variant, b.variant), marks={}),
        )


def _verdict(row: RatedSlot, a: str, b: str) -> VoteVerdict:
    order = [reply.variant for reply in row.shown]
    left, right = sorted((a, b), key=order.index)
    lead = row.ranks[right] - row.ranks[left]
    return "tie" if lead == 0 else "left" if lead > 0 else "right"
