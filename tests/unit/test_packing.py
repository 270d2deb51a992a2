from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, InputError
from harness.types import Example
from pipelines.training.packing import Pack, best_fit_decreasing, flatten, plan_packs, plan_sample


def example(length: int, *, n_prompt: int = 1, first: int = 5) -> Example:
    ids = tuple(5 + (first + i) % 20 for i in range(length))
    return Example(
        prompt_id="p", cluster="m0", split="train", input_ids=ids, n_prompt_tokens=n_prompt, n_completion_bytes=4
    )


def naive_best_fit(lengths: list[int], pack_tokens: int) -> list[list[int]]:
    """The definition: into the fullest pack with room, the latest opened of equally full ones."""
    packs: list[list[int]] = []
    rooms: list[int] = []
    opened: list[int] = []  # when each pack last changed, to break ties as a stack does
    for tick, row in enumerate(sorted(range(len(lengths)), key=lambda row: -lengths[row])):
        fitting = [p for p in range(len(packs)) if rooms[p] >= lengths[row]]
        if fitting:
            pack = min(fitting, key=lambda p: (rooms[p], -opened[p]))
        else:
            pack = len(packs)
            packs.append([])
            rooms.append(pack_tokens)
            opened.append(0)
        packs[pack].append(row)
        rooms[pack] -= lengths[row]
        opened[pack] = tick
    return packs


def test_best_fit_decreasing_by_hand() -> None:
    # sorted: 7 (row 1), 6 (3), 4 (0), 3 (2), 3 (4), 2 (5); packs of 10.
    # 7 opens A; 6 opens B; 4 fills B to 10; 3 fills A to 10; 3 opens C; 2 joins C.
    assert best_fit_decreasing([4, 7, 3, 6, 3, 2], pack_tokens=10) == ((1, 2), (3, 0), (4, 5))


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(40, 64))
def test_best_fit_agrees_with_its_definition(lengths: list[int], pack_tokens: int) -> None:
    fast = best_fit_decreasing(lengths, pack_tokens=pack_tokens)
    assert [list(pack) for pack in fast] == naive_best_fit(lengths, pack_tokens)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(0, 5), st.integers(1, 3))
@settings(max_examples=50)
def test_epochs_hold_every_example_once_within_the_limit(lengths: list[int], seed: int, epochs: int) -> None:
    packs = plan_packs(lengths, pack_tokens=40, train_tokens=None, epochs=epochs, seed=seed)
    assert all(pack.n_tokens == sum(lengths[row] for row in pack.rows) <= 40 for pack in packs)
    for epoch in range(epochs):
        rows = Counter(row for pack in packs if pack.epoch == epoch for row in pack.rows)
        assert rows == Counter(range(len(lengths)))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(40, 4000))
@settings(max_examples=50)
def test_a_budget_is_never_exceeded_and_leaves_less_than_one_example(lengths: list[int], budget: int) -> None:
    packs = plan_packs(lengths, pack_tokens=40, train_tokens=budget, epochs=None, seed=0)
    spent = sum(pack.n_tokens for pack in packs)
    assert budget - max(lengths) < spent <= budget


def test_plan_is_the_same_for_a_seed_and_another_in_every_epoch() -> None:
    lengths = [3 + row % 17 for row in range(200)]

    def plan(seed: int) -> tuple[Pack, ...]:
        return plan_packs(lengths, pack_tokens=64, train_tokens=None, epochs=2, seed=seed)

    first, second = ([pack.rows for pack in plan(1) if pack.epoch == epoch] for epoch in (0, 1))
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    assert first != second


def test_long_examples_do_not_all_come_first() -> None:
    lengths = list(range(1, 401))
    packs = plan_packs(lengths, pack_tokens=400, train_tokens=None, epochs=1, seed=0)
    longest = [max(lengths[row] for row in pack.rows) for pack in packs]
    assert longest != sorted(longest, reverse=True)


def test_a_sample_is_one_fixed_draw_of_at_most_the_data() -> None:
    lengths = [10] * 30
    assert sum(pack.n_tokens for pack in plan_sample(lengths, pack_tokens=64, max_tokens=95, seed=0)) == 90
    whole = plan_sample(lengths, pack_tokens=64, max_tokens=10_000, seed=0)
    assert Counter(row for pack in whole for row in pack.rows) == Counter(range(30))


def test_the_first_token_of_an_example_is_never_predicted_from_its_neighbour() -> None:
    flat = flatten([example(3), example(3, n_prompt=0, first=9)])
    assert flat.loss_positions.tolist() == [0, 1, 3, 4]


def test_variable_length_kernels_get_the_borders_and_no_mask() -> None:
    flat = flatten([example(4), example(3)])
    plain, varlen = (flat.model_inputs(is_variable_length=flag) for flag in (False, True))
    assert set(plain) == {"input_ids", "position_ids", "use_cache"}
    assert plain["use_cache"] is False
    assert set(varlen) - set(plain) == {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"}
    assert varlen["max_length_q"] == 4


@pytest.mark.parametrize(
    ("lengths", "keys", "error", "words"),
    [
        ([], {}, InputError, "at least one example"),
        ([3, 0], {}, InputError, "must hold a token"),
        ([3, 65], {}, ConfigError, "`pack_tokens` must hold the longest example, got 64 for one of 65"),
        ([30], {"train_tokens": 20}, ConfigError, "`train_tokens` must hold the longest example"),
        ([30], {"epochs": 1}, ConfigError, "exactly one of"),
        ([30], {"train_tokens": None}, ConfigError, "exactly one of"),
    ],
)
def test_what_cannot_be_packed_is_refused(lengths: list[int], keys: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        plan_packs(lengths, **{"pack_tokens": 64, "train_tokens": 100, "epochs": None, "seed": 0, **keys})
