from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from certain import ends, sure
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.errors import InputError
from harness.stats import binomial_p_value, read_votes, win_rate

WINNERS = ["left", "right", "tie", "both_bad"]


def test_sides_ties_and_both_bad_by_hand() -> None:
    votes = read_votes(
        ["a", "b", "a", "b", "a", "c"],
        ["b", "a", "b", "a", "b", "a"],
        ["left", "left", "tie", "right", "both_bad", "left"],
        clusters=[1, 2, 3, 4, 5, 6],
        n_missing=2,
    )
    rate = win_rate(votes, "a", "b")  # a wins rows 0 and 3, loses row 1; the vote on c is not part of it
    assert rate.decisive.value == pytest.approx(2 / 3)
    assert (rate.decisive.n, rate.decisive.n_missing) == (3, 2)
    assert (rate.ties.value, rate.both_bad.value, rate.ties.n) == (0.2, 0.2, 5)


@given(wins=st.integers(0, 60), losses=st.integers(0, 60))
def test_sign_test_against_scipy(wins: int, losses: int) -> None:
    trials = max(1, wins + losses)
    assert binomial_p_value(wins, trials) == pytest.approx(binomtest(wins, trials).pvalue)


@given(winners=st.lists(st.sampled_from(WINNERS), min_size=6, max_size=40), seed=st.integers(0, 99))
def test_swapping_sides_and_naming_the_other_variant(winners: list[str], seed: int) -> None:
    winners = [*winners, "left", "right"]
    clusters = np.random.default_rng(seed).integers(4, size=len(winners))
    swap = {"left": "right", "right": "left"}
    one = win_rate(read_votes(["a"] * len(winners), ["b"] * len(winners), winners, clusters=clusters), "a", "b")
    other = win_rate(
        read_votes(["b"] * len(winners), ["a"] * len(winners), [swap.get(w, w) for w in winners], clusters=clusters),
        "a",
        "b",
    )
    assert one == other
    third = win_rate(read_votes(["a"] * len(winners), ["b"] * len(winners), winners, clusters=clusters), "b", "a")
    assert third.decisive.value == pytest.approx(1 - one.decisive.value)
    assert third.naive_p_value == pytest.approx(one.naive_p_value)


def test_repeated_votes_of_a_cluster_do_not_make_surer() -> None:
    winners = ["left"] * 7 + ["right"] * 3
    few = win_rate(read_votes(["a"] * 10, ["b"] * 10, winners, clusters=range(10)), "a", "b")
    many = win_rate(
        read_votes(["a"] * 50, ["b"] * 50, [w for w in winners for _ in range(5)], clusters=np.arange(50) // 5),
        "a",
        "b",
    )
    assert many.decisive.low == pytest.approx(few.decisive.low)
    assert ends(many.naive)[0] > ends(few.naive)[0]


def test_these_raters_and_raters_like_these_are_two_claims() -> None:
    rng = np.random.default_rng(0)
    raters, prompts = np.repeat(np.arange(3), 40), np.tile(np.arange(40), 3)
    winners = np.array(["left", "right"])[(rng.random(120) > np.array([0.9, 0.6, 0.4])[raters]).astype(int)]
    crossed = win_rate(read_votes(["a"] * 120, ["b"] * 120, winners, clusters=prompts, raters=raters), "a", "b")
    by_prompt = win_rate(read_votes(["a"] * 120, ["b"] * 120, winners, clusters=prompts), "a", "b")
    assert (crossed.decisive.low, crossed.decisive.high) == (by_prompt.decisive.low, by_prompt.decisive.high)
    assert by_prompt.people is None
    assert np.ptp(ends(crossed.people)) > 2 * np.ptp(ends(by_prompt.decisive))
    assert (crossed.decisive.notes[0], sure(crossed.people).notes[0]) == (
        "about these 3 raters",
        "about raters like these 3",
    )


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ((["a"], ["b"], ["A"]), {}, "tie or both_bad, got 'A'"),
        ((["a"], ["b"], [None]), {}, "skipped"),
        ((["a"], ["a"], ["left"]), {}, "must differ"),
        ((["a", "a"], ["b"], ["left"]), {}, "aligned"),
        (([], [], []), {}, "at least 1 vote"),
        ((["a"], ["b"], ["left"]), {"length_difference": [float("nan")]}, "finite"),
        ((["a"], ["b"], ["left"]), {"raters": ["x", "y"]}, "one label a vote"),
    ],
)
def test_malformed_votes_are_refused(columns: tuple[Any, ...], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_votes(*columns, clusters=list(range(len(columns[0]))), **options)


def test_pairs_that_never_met_or_always_tied_are_refused() -> None:
    votes = read_votes(["a", "a"], ["b", "c"], ["tie", "left"], clusters=[1, 2])
    with pytest.raises(InputError, match="got none"):
        win_rate(votes, "b", "c")
    with pytest.raises(InputError, match="ties only"):
        win_rate(votes, "a", "b")
    with pytest.raises(InputError, match="check its name"):
        win_rate(votes, "a", "d")
