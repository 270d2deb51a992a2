"""Near-duplicates across splits: what is one, what is none, and an exhaustive search that must agree."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.duplicates import MIN_CONTAINMENT, MIN_WORDS, Duplicate, describe, find_duplicates, words

TRAIN, VALIDATION, TEST = 0, 1, 2
SPEECH = "I never said the boat would wait for anyone, least of all for you"  # 14 words, 12 trigrams


def found(*windows: tuple[int, str, str]) -> list[Duplicate]:
    """Duplicates among (split, turn to answer, reply)."""
    splits = np.array([w[0] for w in windows], dtype=np.int8)
    return find_duplicates(asked=[w[1] for w in windows], replies=[w[2] for w in windows], splits=splits)


class TestWhatIsOne:
    def test_the_same_reply_whatever_case_and_punctuation(self) -> None:
        (duplicate,) = found((TRAIN, "a", SPEECH), (TEST, "b", SPEECH.upper().replace(",", " --") + "!"))
        assert (duplicate.window, duplicate.other, duplicate.rule, duplicate.similarity) == (0, 1, "reply", 1.0)

    def test_a_reply_with_a_word_exchanged_near_its_end(self) -> None:
        # The last of 14 words is in one trigram of 12: 11/12 are shared.
        (duplicate,) = found((TRAIN, "a", SPEECH), (TEST, "b", SPEECH.removesuffix("you") + "him"))
        assert duplicate.similarity == pytest.approx(11 / 12)

    def test_a_reply_inside_a_longer_one(self) -> None:
        (duplicate,) = found((TRAIN, "a", f"Listen to me now. {SPEECH}. And that is all I have."), (TEST, "b", SPEECH))
        assert duplicate.similarity == 1.0

    def test_a_short_exchange_that_is_the_same_on_both_sides(self) -> None:
        asked, reply = "Where did you put the money?", "Under the stairs."
        (duplicate,) = found((TRAIN, asked, reply), (TEST, asked.lower(), reply))
        assert duplicate.rule == "exchange"

    def test_validation_is_held_out_from_train_and_test_from_both(self) -> None:
        duplicates = found((TRAIN, "a", SPEECH), (VALIDATION, "b", SPEECH), (TEST, "c", SPEECH))
        assert [(d.window, d.other) for d in duplicates] == [(0, 1), (0, 2), (1, 2)]
        splits = np.array([TRAIN, VALIDATION, TEST], dtype=np.int8)
        assert describe(duplicates, splits) == {
            "reply: train in test": 1,
            "reply: train in validation": 1,
            "reply: validation in test": 1,
        }

    def test_every_window_with_the_reply_is_named_and_the_nearest_like(self) -> None:
        near = SPEECH.removesuffix("you") + "him"
        duplicates = found((TRAIN, "a", SPEECH), (TEST, "b", near), (TEST, "c", SPEECH), (TRAIN, "d", SPEECH))
        assert [(d.window, d.other) for d in duplicates] == [(0, 2), (3, 2)]

    def test_scripts_without_spaces(self) -> None:
        assert len(found((TRAIN, "a", "我从来没有说过船会等任何人"), (TEST, "b", "我从来没有说过船会等任何人。"))) == 1


class TestWhatIsNone:
    @pytest.mark.parametrize("reply", ["Yes.", "I don't know what you're talking about.", ""])
    def test_a_set_phrase(self, reply: str) -> None:
        assert not found((TRAIN, "Is it done?", reply), (TEST, "Who are you?", reply))

    def test_half_a_reply(self) -> None:
        half = "I never said the boat would wait until the morning after the dance"
        assert not found((TRAIN, "a", SPEECH), (TEST, "b", half))

    def test_the_same_within_a_split(self) -> None:
        assert not found((TRAIN, "a", SPEECH), (TRAIN, "a", SPEECH), (TEST, "b", "Hm."))


def exhaustive(replies: Sequence[str], splits: Sequence[int]) -> set[tuple[int, int]]:
    """(window, later split) of every reply duplicate, by comparing all pairs."""
    grams = [{tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in map(words, replies)]
    long_enough = [len(words(reply)) >= MIN_WORDS for reply in replies]
    return {
        (i, splits[j])
        for i in range(len(replies))
        for j in range(len(replies))
        if splits[i] < splits[j]
        and long_enough[i]
        and long_enough[j]
        and len(grams[i] & grams[j]) >= MIN_CONTAINMENT * min(len(grams[i]), len(grams[j]))
    }


@given(st.integers(0, 10_000))
def test_it_finds_what_an_exhaustive_search_finds(seed: int) -> None:
    random_ = random.Random(seed)
    phrases = [[random_.choice("abcd") for _ in range(random_.randint(6, 14))] for _ in range(4)]
    replies = []
    for _ in range(24):
        reply = list(random_.choice(phrases))
        if random_.random() < 0.6:
            reply[random_.randrange(len(reply))] = random_.choice("abcdxyz")
        replies.append(" ".join(reply[random_.randint(0, 1) :]))
    splits = [random_.randrange(3) for _ in replies]
    duplicates = find_duplicates(
        asked=[str(i) for i in range(len(replies))], replies=replies, splits=np.array(splits, dtype=np.int8)
    )
    assert {(d.window, splits[d.other]) for d in duplicates} == exhaustive(replies, splits)
    assert len({(d.window, splits[d.other]) for d in duplicates}) == len(duplicates)
