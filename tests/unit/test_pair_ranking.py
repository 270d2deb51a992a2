"""A pairwise judge as who prefers: wins over all the others, both orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from certain import sure
from fakes import ScriptedComparer

from harness.types import Criterion, Generation, Message, PreferencePair, Prompt
from pipelines.preferences.ranking import HumanRanker, JudgeRanker

COHERENCE = Criterion(name="coherence", definition="Fits.", steps=())
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Well?"),), split="train", cluster="m0")
Verdict = Callable[[str, str, str], Literal["A", "B", "tie"] | None]


def replies(*texts: str) -> list[Generation]:
    return [
        Generation(
            prompt_id="p", variant="sft", draw=draw, text=text, seed=0, n_tokens=3, finish_reason="stop", cluster="m0"
        )
        for draw, text in enumerate(texts)
    ]


def choose(verdict: Verdict, texts: tuple[str, ...]) -> PreferencePair | None:
    comparer = ScriptedComparer(verdict=verdict, criteria=(COHERENCE,))
    ranker = JudgeRanker(judge=comparer, criterion="coherence")
    return ranker.choose([PROMPT], {"p": replies(*texts)})["p"]


def longer(a: str, b: str, criterion: str) -> Literal["A", "B", "tie"]:
    return "A" if len(a) > len(b) else "B" if len(b) > len(a) else "tie"


def test_the_one_that_beats_all_against_the_one_that_loses_to_all() -> None:
    choice = sure(choose(longer, ("one of them", "no", "the longest of them", "some")))
    assert (choice.chosen, choice.rejected) == ("the longest of them", "no")
    assert choice.margin == 1.0  # wins all three of its comparisons; the other none
    assert choice.orders_agree
    # wins 2 of 3, 0 of 3, 3 of 3, 1 of 3
    assert [c.score for c in choice.candidates] == pytest.approx([2 / 3, 0, 1, 1 / 3])


def test_a_judge_that_looks_at_the_position_alone_prefers_nobody() -> None:
    assert choose(lambda a, b, criterion: "A", ("one", "two", "three")) is None


def test_a_verdict_that_turns_with_the_sides_is_told() -> None:
    """`best` beats `other` in both orders and `worst` in one: it wins overall, but the two that are paired disagree."""

    def verdict(a: str, b: str, criterion: str) -> Literal["A", "B", "tie"]:
        if {a, b} == {"best", "worst"}:
            return "A"
        return "A" if a == "best" or b == "worst" else "B"

    choice = sure(choose(verdict, ("best", "worst", "other")))
    assert (choice.chosen, choice.rejected, choice.orders_agree) == ("best", "worst", False)


def test_a_comparison_with_an_order_missing_counts_for_nobody() -> None:
    def verdict(a: str, b: str, criterion: str) -> Literal["A", "B", "tie"] | None:
        return None if {a, b} == {"one of them", "no"} else longer(a, b, criterion)

    choice = sure(choose(verdict, ("one of them", "no", "the longest of them")))
    assert [c.score for c in choice.candidates] == [0.0, 0.0, 1.0]
    assert choose(lambda a, b, criterion: None, ("one", "other")) is None


def test_the_human_reply_stands_against_one_to_a_prompt_of_another_film() -> None:
    def said(row: int, reference: str | None) -> Prompt:
        turn = Message(role="user", content=f"{row}?")
        return Prompt(id=f"p{row}", messages=(turn,), split="train", cluster=f"m{row % 2}", reference=reference)

    pool = tuple(said(row, text) for row, text in enumerate(["Yes.", "No.", "yes!", None, "Here.", " "]))
    choices = HumanRanker(others=pool, seed=1).choose(pool, {})
    other = sure(choices["p1"]).rejected
    assert {key: (c.chosen, c.rejected) for key, c in choices.items() if c} == {
        "p0": ("Yes.", "No."), "p2": ("yes!", "No."), "p4": ("Here.", "No."), "p1": ("No.", other),
    }  # fmt: skip
    assert other in ("Yes.", "yes!", "Here.")
    assert HumanRanker(others=pool[::2], seed=1).choose(pool[:1], {}) == {"p0": None}  # one film alone


def test_a_sample_that_repeats_the_human_reply_makes_no_pair() -> None:
    asked = replace(PROMPT, reference="Yes, it is.")
    assert HumanRanker().choose([asked], {"p": replies("yes it is")}) == {"p": None}
