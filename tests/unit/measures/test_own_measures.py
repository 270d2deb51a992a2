"""Functions as measures: a value or a reason in every row, whatever they return or raise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nouns import generation, prompt

import screentest
from harness.errors import InputError
from harness.measures.own import measured_rows
from harness.types import Generation

PROMPTS = [prompt(f"p{i}", f"turn {i}", cluster=f"f{i % 3}", reference="true" if i else None) for i in range(6)]


def said(variant: str, texts: list[str]) -> list[Generation]:
    return [
        generation(text, to, variant=variant, finish="error" if text == "!" else "stop")
        for to, text in zip(PROMPTS, texts, strict=False)
    ]


def rows_of(function: Any, generations: Any, **how: Any) -> Any:
    return measured_rows(screentest.measure(**how)(function), generations, PROMPTS)


RETURNS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.binary()


@given(RETURNS)
def test_a_value_is_a_finite_number_or_missing_or_a_sentence(returned: Any) -> None:
    is_number = isinstance(returned, (bool, int, float)) and math.isfinite(returned)
    if returned is not None and not is_number:
        with pytest.raises(InputError, match="must return a finite number"):
            rows_of(lambda reply: returned, said("a", ["hm"]))
        return
    [row] = rows_of(lambda reply: returned, said("a", ["hm"]))
    if returned is None:
        assert (row.value, row.status) == (None, "unsupported")
        return
    assert row.value == float(returned)


def test_numbers_of_numpy_are_numbers_and_a_rate_stays_in_its_bounds() -> None:
    [row] = rows_of(lambda reply: np.float32(0.5), said("a", ["hm"]), is_rate=True)
    assert row.value == 0.5
    with pytest.raises(InputError, match="a share from 0 to 1"):
        rows_of(lambda reply: 1.5, said("a", ["hm"]), is_rate=True)


def test_what_it_raises_on_is_missing_with_the_reason_and_silence_is_not_asked_about() -> None:
    def odd(reply: Any, reference: Any) -> Any:
        raise KeyError("colour")

    texts = ["no reference", "raises", "", "!"]
    rows = rows_of(odd, said("a", texts))
    assert [row.status for row in rows] == ["unsupported", "failed", "empty", "failed"]
    assert rows[1].reason.startswith("KeyError: 'colour' (test_own_measures.py:")
    assert all(row.value is None for row in rows)


def test_a_function_gets_what_it_asks_for() -> None:
    rows = rows_of(
        lambda reply, prompt, messages, generation: len(messages) + (generation.text == reply), said("a", ["x"])
    )
    assert rows[0].value == 2


def test_per_pair_a_reply_meets_those_of_every_other_variant() -> None:
    generations = [*said("a", ["x", "y"]), *said("b", ["x", "z"]), *said("c", ["x", "!"])]
    rows = rows_of(lambda reply, other: reply == other, generations, per="pair", is_rate=True)
    assert [row.value for row in rows] == [1.0, 0.0, 1.0, 0.0, 1.0, None]


def test_per_variant_the_films_values_average_to_the_measure_itself() -> None:
    generations = said("a", ["x y", "y", "z", "x", "w", ""])
    rows = rows_of(lambda replies: len({w for r in replies for w in r.split()}), generations, per="variant")
    assert {row.prompt_id for row in rows} == {"f0", "f1", "f2"}
    assert sum(row.value for row in rows) / 3 == pytest.approx(4)


def test_a_declaration_that_cannot_be_is_refused() -> None:
    for how in ({"better": "more"}, {"per": "word"}, {"smallest_effect": -1}, {"smallest_effect": math.nan}):
        with pytest.raises(InputError):
            screentest.measure(**how)(lambda reply: 0)
    with pytest.raises(InputError, match="may ask for"):
        screentest.measure(lambda reply, colour: 0)
