"""Each fault is the fault it says, and nothing else changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.judging.controls import faults
from harness.seeding import stream

WORDS = ["I", "the", "brother", "never", "Lisbon,", "home!", "what?", "coming", "don't"]
LINES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(LINES, st.integers(0, 99))
def test_shuffling_keeps_the_words_and_changes_their_order(line: str, seed: int) -> None:
    shuffled = faults.shuffled_words(line, rng=stream(seed, "t"))
    if shuffled is None:
        assert len({w.casefold() for w in line.split()}) <= 1
    else:
        assert shuffled != line
        assert sorted(shuffled.split()) == sorted(line.split())


@given(LINES, st.integers(0, 99))
def test_corruption_scrambles_exactly_one_long_word(line: str, seed: int) -> None:
    corrupted = faults.corrupted_word(line, rng=stream(seed, "t"))
    if corrupted is None:
        assert all(len(w.strip(",!?")) < faults.MIN_LETTERS or "'" in w for w in line.split())
        return
    changed = [(a, b) for a, b in zip(line.split(), corrupted.split(), strict=True) if a != b]
    assert len(changed) == 1
    before, after = changed[0]
    assert sorted(before.lower()) == sorted(after.lower())
    assert len(before) >= faults.MIN_LETTERS


def test_a_word_of_one_letter_repeated_cannot_be_scrambled() -> None:
    assert faults.corrupted_word("aaaa bb", rng=stream(0, "t")) is None


def test_a_loop_is_the_opening_phrase_again_and_again() -> None:
    assert faults.looped("I want to go home") == "I want to " * 4 + "I want to"
    assert faults.looped("Go home") == "Go home " * 4 + "Go home"
    assert faults.looped("") is None


def test_a_cut_ends_inside_a_word_without_its_punctuation() -> None:
    assert faults.cut_off("I was born in the lighthouse.") == "I was born"[:8]  # "born" is cut in two
    assert faults.cut_off("Well, no, I do not, sir.") == "Well, no, I"
    assert faults.cut_off("No, sir.") is None


def test_same_words_looks_past_case_and_punctuation() -> None:
    assert faults.same_words("Yes, sir!", "yes sir")
    assert not faults.same_words("Yes, sir!", "No, sir!")
