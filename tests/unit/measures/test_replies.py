"""Repetition, echo, length and cut-off, by hand."""

from __future__ import annotations

import pytest
from certain import sure
from hypothesis import given
from hypothesis import strategies as st
from nouns import generation, prompt

from harness.measures.ngrams import spoken_words, words
from harness.measures.text_measures import echo, repetition, text_measures
from harness.types import FinishReason


def test_words_keep_apostrophes_and_set_marks_apart() -> None:
    assert words("Don't you— he said, 'No.'") == ["don't", "you", "—", "he", "said", ",", "'", "no", ".", "'"]
    assert len(spoken_words("Don't you— he said, 'No.'")) == 5
    assert len(spoken_words("...")) == 0


def test_repetition_counts_trigrams_said_before() -> None:
    # no no no no: trigrams nnn nnn, one distinct of two.
    assert repetition("no no no no") == pytest.approx(1 / 2)
    assert repetition("where were you last night") == 0
    assert repetition("no no") == 0  # no room for a loop
    assert repetition("  ") is None


@given(st.lists(st.sampled_from(["go", "on", "now"]), min_size=1, max_size=8), st.integers(2, 5))
def test_saying_it_all_again_never_lowers_repetition(line: list[str], times: int) -> None:
    assert 0 <= sure(repetition(" ".join(line))) <= sure(repetition(" ".join(line * times))) < 1


def test_echo_is_the_share_taken_from_the_context() -> None:
    context = ["Where were you last night?", "Out."]
    assert echo("where were you last night?", context) == 1
    # where were you | were you now: one of two stands in the context.
    assert echo("Where were you now", context) == pytest.approx(1 / 2)
    assert echo("Out.", context) == 1  # shorter than three words: compared whole
    assert echo("In.", context) == 0
    assert echo("night out .", context) == 0  # no gram reaches from one turn into the next
    assert echo("", context) is None


@pytest.mark.parametrize(
    ("text", "finish", "length", "cut_off", "is_missing"),
    [
        ("Me.", "stop", 1, 0.0, False),
        ("Me and", "length", 2, 1.0, False),
        ("Me.", "unknown", 1, None, False),
        ("", "stop", None, None, True),
        (" \u200b\ufeff", "stop", None, None, True),  # nobody can see it
        ("", "length", None, 1.0, True),  # ran into the cap without a word
        ("", "error", None, None, True),
    ],
)
def test_a_row_per_generation_with_what_is_missing(
    text: str, finish: FinishReason, length: int | None, cut_off: float | None, is_missing: bool
) -> None:
    [row] = text_measures([generation(text, finish=finish)], [prompt()])
    assert (row.length, row.cut_off, row.no_text) == (length, cut_off, float(is_missing))
    assert (row.repetition is None) == (row.echo is None) == is_missing
