from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError, SplitError
from harness.experiment.preparing import draw_prompts
from harness.types import Message, Prompt


def prompts_of(sizes: list[int]) -> list[Prompt]:
    message = (Message(role="user", content="And?"),)
    return [
        Prompt(id=f"m{film}-{i}", messages=message, split="test", cluster=f"m{film}", reference="So.")
        for film, size in enumerate(sizes)
        for i in range(size)
    ]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), n=st.integers(1, 40), seed=st.integers(0, 99))
def test_films_take_turns(sizes: list[int], n: int, seed: int) -> None:
    drawn = draw_prompts(prompts_of(sizes), n=n, seed=seed)
    assert len(drawn) == len({p.id for p in drawn}) == min(n, sum(sizes))
    counts = Counter(p.cluster for p in drawn)
    most = max(counts.values())
    for film, size in enumerate(sizes):
        assert counts[f"m{film}"] >= min(size, most - 1)


@given(n=st.integers(1, 20), more=st.integers(0, 20), seed=st.integers(0, 99))
def test_a_smaller_draw_begins_a_larger_one(n: int, more: int, seed: int) -> None:
    prompts = prompts_of([4, 7, 2, 9])
    assert draw_prompts(prompts, n=n + more, seed=seed)[:n] == draw_prompts(prompts, n=n, seed=seed)


def test_another_split_is_refused() -> None:
    prompt = Prompt(id="a", messages=(Message(role="user", content="And?"),), split="train", cluster="m")
    with pytest.raises(SplitError, match="must be of test, got some of train"):
        draw_prompts([prompt], n=1, seed=0)
    with pytest.raises(InputError, match="at least one"):
        draw_prompts([], n=1, seed=0)
