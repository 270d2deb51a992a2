"""Who sees which item, when, and on which side: drawn once, seeded, balanced, and stored before anything is shown.

Prompts come in one random order that all raters share, cut into blocks; inside a block every rater has an own order.
So early prompts are finished by everybody early, and a study can stop at any moment with whole prompts in hand.
Sides are balanced twice: each rater sees every pair of variants as often one way round as the other (± 1), and, as far
as that allows, so do the raters of one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.seeding import stream
from harness.studies.items import StudyItem

SlotKind = Literal["main", "repeat", "attention", "practice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSlot:
    """One showing."""

    rater: int  # 0 … raters-1
    item: int  # its place among the study's items
    kind: SlotKind
    position: int  # 0 … in the rater's order
    is_flipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A study's showings, and the order of prompts that raters share."""

    slots: tuple[PlannedSlot, ...]
    ranks: dict[str, int]  # prompt -> place in the shared order


@dataclass(frozen=True, slots=True)
class _Shown:
    item: int
    kind: SlotKind
    is_flipped: bool


def draw_schedule(
    items: Sequence[StudyItem], *, n_raters: int, overlap: int, block: int, repeats: float, seed: int
) -> Schedule:
    """Every rater's showings: practice first, then main items, with the attention checks spread over them.

    Args:
        items: those of one prompt are rated by the same raters; sides are balanced within a pair of variants.
        overlap: raters per prompt; those with the least to do come first, ties by lot.
        block: prompts that share an order.
        repeats: share of a rater's items that come again, sides swapped, at least half a block later.
    """
    main, checks, practice = (
        {i: item for i, item in enumerate(items) if item.purpose == purpose}
        for purpose in ("main", "attention", "practice")
    )
    ranks = _shared_order(main.values(), seed)
    blocks = {i: ranks[item.prompt_id] // block for i, item in main.items()}
    seats = _seats(main, ranks, n_raters=n_raters, overlap=overlap, seed=seed)
    slots: list[PlannedSlot] = []
    for rater in range(n_raters):
        rng = stream(seed, "order", rater)
        shown = _ordered(seats[rater], blocks, rng)
        shown = _with_repeats(shown, share=repeats, gap=max(1, min(block, len(shown)) // 2), rng=rng)
        shown = _with_attention(shown, list(checks), rng)
        first = [_Shown(item, "practice", bool(rng.integers(2))) for item in practice]
        slots += [
            PlannedSlot(rater=rater, item=s.item, kind=s.kind, position=position, is_flipped=s.is_flipped)
            for position, s in enumerate([*first, *shown])
        ]
    return Schedule(slots=tuple(slots), ranks=ranks)


def _shared_order(items: Iterable[StudyItem], seed: int) -> dict[str, int]:
    prompts = sorted({item.prompt_id for item in items})
    order = stream(seed, "prompts").permutation(len(prompts))
    return {prompts[i]: rank for rank, i in enumerate(order)}


def _seats(
    items: Mapping[int, StudyItem], ranks: Mapping[str, int], *, n_raters: int, overlap: int, seed: int
) -> list[list[_Shown]]:
    """Per rater, the items with their sides."""
    rng = stream(seed, "sides")
    seats: list[list[_Shown]] = [[] for _ in range(n_raters)]
    lean: dict[tuple[str, int], int] = {}  # (group, rater) -> flipped − not flipped so far
    panel: dict[str, list[int]] = {}
    for number in sorted(items, key=lambda i: (ranks[items[i].prompt_id], i)):
        prompt, group = items[number].prompt_id, items[number].group
        if prompt not in panel:
            load = [len(seats[rater]) for rater in range(n_raters)]
            panel[prompt] = sorted(rng.permutation(n_raters).tolist(), key=load.__getitem__)[:overlap]
        tilt = 0  # of this item
        for rater in rng.permutation(panel[prompt]).tolist():
            leaning = lean.get((group, rater), 0) or tilt or (1 if rng.integers(2) else -1)
            is_flipped = leaning < 0
            step = 1 if is_flipped else -1
            lean[group, rater] = lean.get((group, rater), 0) + step
            tilt += step
            seats[rater].append(_Shown(number, "main", is_flipped))
    return seats


def _ordered(seats: Sequence[_Shown], blocks: Mapping[int, int], rng: np.random.Generator) -> list[_Shown]:
    """Blocks in turn, each in an order of the rater's own."""
    lots = rng.random(len(seats))
    return [seats[i] for i in sorted(range(len(seats)), key=lambda i: (blocks[seats[i].item], lots[i]))]


def _with_repeats(shown: Sequence[_Shown], *, share: float, gap: int, rng: np.random.Generator) -> list[_Shown]:
    """Some items again, sides swapped, at least `gap` showings later."""
    n_hosts = len(shown) - gap
    n_repeats = min(round(share * len(shown)), max(0, n_hosts))
    after: dict[int, list[_Shown]] = {}
    for host in sorted(rng.choice(n_hosts, size=n_repeats, replace=False).tolist()) if n_repeats else []:
        place = int(rng.integers(host + gap, len(shown)))
        after.setdefault(place, []).append(_Shown(shown[host].item, "repeat", not shown[host].is_flipped))
    return [s for place, one in enumerate(shown) for s in (one, *after.get(place, ()))]


def _with_attention(shown: Sequence[_Shown], checks: Sequence[int], rng: np.random.Generator) -> list[_Shown]:
    """One check in each of as many equal stretches, at a random place."""
    before: dict[int, list[_Shown]] = {}
    edges = np.linspace(0, len(shown), len(checks) + 1).astype(int)
    first_is_flipped = bool(rng.integers(2))
    for number, item in enumerate(rng.permutation(checks).tolist() if checks else []):
        low, high = int(edges[number]), int(edges[number + 1])
        place = int(rng.integers(low, high)) if high > low else low
        before.setdefault(place, []).append(_Shown(item, "attention", first_is_flipped ^ bool(number % 2)))
    return [s for place in range(len(shown) + 1) for s in (*before.get(place, ()), *shown[place : place + 1])]
