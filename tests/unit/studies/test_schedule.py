"""Order and sides: balanced within what chance allows, the same for the same seed, nothing twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.studies.item_schedule import PlannedSlot, Schedule, draw_schedule
from harness.studies.items import ItemReply, Purpose, StudyItem


def an_item(prompt: str, group: str = "a b", purpose: Purpose = "main") -> StudyItem:
    replies = tuple(ItemReply(variant=variant, text="") for variant in group.split())
    return StudyItem(purpose=purpose, prompt_id=prompt, cluster="film", messages=(), replies=replies)


def drawn(
    n_prompts: int = 20, groups: tuple[str, ...] = ("a b",), *, n_checks: int = 2, n_practice: int = 2, **changes: Any
) -> Schedule:
    items = [
        *(an_item(f"p{p:03}", group) for p in range(n_prompts) for group in groups),
        *(an_item(f"check-{i}", purpose="attention") for i in range(n_checks)),
        *(an_item(f"practice-{i}", purpose="practice") for i in range(n_practice)),
    ]
    options: dict[str, Any] = {"n_raters": 3, "overlap": 3, "block": 5, "repeats": 0.1, "seed": 0, **changes}
    return draw_schedule(items, **options)


def by_rater(schedule: Schedule) -> dict[int, list[PlannedSlot]]:
    found: dict[int, list[PlannedSlot]] = defaultdict(list)
    for slot in sorted(schedule.slots, key=lambda s: (s.rater, s.position)):
        found[slot.rater].append(slot)
    return found


@settings(max_examples=60)
@given(
    n_prompts=st.integers(1, 30),
    n_groups=st.integers(1, 3),
    n_raters=st.integers(1, 6),
    share=st.floats(0, 1),
    block=st.integers(1, 12),
    repeats=st.floats(0, 1),
    n_checks=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_laws_of_every_schedule(
    n_prompts: int, n_groups: int, n_raters: int, share: float, block: int, repeats: float, n_checks: int, seed: int
) -> None:
    overlap = max(1, round(share * n_raters))
    n = n_prompts * n_groups
    checks, practice = list(range(n, n + n_checks)), [n + n_checks, n + n_checks + 1]
    schedule = drawn(
        n_prompts, tuple(f"g{i}" for i in range(n_groups)), n_raters=n_raters, overlap=overlap, block=block,
        repeats=repeats, n_checks=n_checks, seed=seed,
    )  # fmt: skip
    main = [s for s in schedule.slots if s.kind == "main"]
    assert Counter(s.item for s in main) == dict.fromkeys(range(n), overlap)
    assert len({(s.item, s.rater) for s in main}) == len(main)
    for slots in by_rater(schedule).values():
        assert [s.position for s in slots] == list(range(len(slots)))
        assert [s.item for s in slots[:2]] == practice
        assert sorted(s.item for s in slots if s.kind == "attention") == checks
        mine = {s.item: s for s in slots if s.kind == "main"}
        for again in (s for s in slots if s.kind == "repeat"):
            assert mine[again.item].position < again.position
            assert mine[again.item].is_flipped != again.is_flipped
        assert len({s.item for s in slots if s.kind == "repeat"}) == sum(s.kind == "repeat" for s in slots)
        # As often one way round as the other within a pair of variants, as evenly as an odd number allows.
        for group in range(n_groups):
            flips = [s.is_flipped for s in mine.values() if s.item % n_groups == group]
            assert abs(2 * sum(flips) - len(flips)) <= 1
        # Blocks of prompts come one after the other.
        blocks = [schedule.ranks[f"p{s.item // n_groups:03}"] // block for s in slots if s.kind == "main"]
        assert blocks == sorted(blocks)
    loads = Counter(s.rater for s in main)
    assert max(loads.values()) - min(loads[r] for r in range(n_raters)) <= n_groups


def test_the_raters_of_one_item_see_both_sides() -> None:
    sides: dict[int, list[bool]] = defaultdict(list)
    for slot in drawn(40, n_raters=4, overlap=4, seed=3).slots:
        if slot.kind == "main":
            sides[slot.item].append(slot.is_flipped)
    assert {sum(flips) for flips in sides.values()} == {2}


def test_the_same_seed_gives_the_same_schedule_and_another_does_not() -> None:
    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)


def test_ten_thousand_assignments_lie_within_binomial_bounds() -> None:
    """Over 10,008 showings in studies of their own seeds: sides, order and pairs are as chance would have them."""
    n_raters, n_prompts, groups = 3, 8, ("a b", "a c", "b c")
    flipped: Counter[str] = Counter()
    total: Counter[str] = Counter()
    first_of_block: Counter[int] = Counter()
    earlier = n_pairs = n = n_studies = 0
    first_panel: Counter[int] = Counter()
    while n < 10_000:
        schedule = drawn(n_prompts, groups, n_raters=n_raters, overlap=2, block=n_prompts, seed=n_studies)
        n_studies += 1
        for rater, slots in by_rater(schedule).items():
            main = [s for s in slots if s.kind == "main"]
            n += len(main)
            for slot in main:
                group = groups[slot.item % len(groups)]
                total[group] += 1
                # The first of a rater's pair of items is the free draw; its partner is the other way round.
                flipped[group] += slot.is_flipped
            first_of_block[main[0].item % len(groups)] += 1
            place = {s.item: i for i, s in enumerate(main)}
            if 0 in place and 3 in place:  # two prompts, the same pair of variants
                earlier += place[0] < place[3]
                n_pairs += 1
            first_panel[rater] += 0 in place
    assert n >= 10_000

    def is_plausible(k: int, of: int, p: float) -> bool:
        return bool(stats.binomtest(k, of, p).pvalue > 0.001)

    for group in groups:
        assert is_plausible(flipped[group], total[group], 0.5)
        assert total[group] == n // len(groups)  # every pair as often as every other, exactly
        assert is_plausible(first_of_block[groups.index(group)], n_raters * n_studies, 1 / 3)
    assert is_plausible(earlier, n_pairs, 0.5)
    for rater in range(n_raters):
        assert is_plausible(first_panel[rater], n_studies, 2 / 3)


@pytest.mark.parametrize("n_checks", [1, 4])
def test_checks_are_spread_over_the_whole(n_checks: int) -> None:
    places = []
    for seed in range(200):
        slots = by_rater(drawn(40, n_checks=n_checks, n_practice=0, repeats=0, seed=seed))[0]
        places.append([i / len(slots) for i, s in enumerate(slots) if s.kind == "attention"])
    means = np.mean(places, axis=0)
    expected = (np.arange(n_checks) + 0.5) / n_checks
    assert np.allclose(means, expected, atol=0.07)
