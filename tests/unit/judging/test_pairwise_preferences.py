"""From verdicts to the same estimates as people's votes, with every bias of the judge beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from certain import sure
from fakes import ScriptedComparer
from hypothesis import given
from hypothesis import strategies as st
from nouns import generation, prompt, said

from harness.errors import InputError
from harness.judging import load_criterion
from harness.judging.preferences import (
    ComparedGenerations,
    item_values,
    join_preferences,
    judged_pairs,
    pairwise_estimates,
)
from harness.judging.qualification import qualify
from harness.seeding import stream
from harness.types import ControlItem, Prompt

COHERENCE = load_criterion("coherence")


def prompts(n: int) -> list[Prompt]:
    return [prompt(f"p{i}", cluster=f"film{i % 4}") for i in range(n)]


def compared(verdict: Any, texts: list[tuple[str, str]]) -> list[ComparedGenerations]:
    asked = prompts(len(texts))
    first = [generation(a, p, variant="new") for p, (a, _) in zip(asked, texts, strict=True)]
    second = [generation(b, p, variant="old") for p, (_, b) in zip(asked, texts, strict=True)]
    judge = ScriptedComparer(verdict=verdict, criteria=(COHERENCE,))
    return join_preferences(first, second, judge.score(judged_pairs(asked, first, second)))


def rng() -> np.random.Generator:
    return stream(0, "test")


def test_a_judge_of_position_alone_finds_no_winner() -> None:
    found = pairwise_estimates(compared(lambda a, b, c: "A", [("good", "bad")] * 12), rng=rng())
    assert found.win_share.value == 0.5
    assert found.position_consistency.value == 0.0
    assert sure(found.first_position).value == 1.0
    assert found.length_correlation is None  # every share is one half


def test_shares_by_hand() -> None:
    # Eight clear wins, two ties in both orders, two pairs where the position decides: (8 + 2·½ + 2·½) / 12 = 10 / 12.
    def verdict(a: str, b: str, criterion: str) -> str:
        if "tie" in a:
            return "tie"
        if "same" in a:
            return "A"
        return "A" if a == "good" else "B"

    texts = [("good", "bad")] * 8 + [("tie", "a tie")] * 2 + [("same", "all the same")] * 2
    rows = compared(verdict, texts)
    found = pairwise_estimates(rows, rng=rng())
    assert found.win_share.value == pytest.approx(10 / 12)
    assert (found.win_share.n, found.win_share.n_clusters, found.win_share.n_missing) == (12, 4, 0)
    # Verdicts: 24, of them 4 ties; 18 of 20 decisive ones are for the first variant.
    assert found.ties.value == pytest.approx(4 / 24)
    assert sure(found.decisive).value == pytest.approx(18 / 20)
    assert found.position_consistency.value == pytest.approx(10 / 12)
    # Of 20 decisive verdicts, the clear ones split 8 to 8 by position, the four undecided all go to the first.
    assert sure(found.first_position).value == pytest.approx(12 / 20)
    assert sure(found.strength).value > 0


def test_a_missing_order_makes_the_pair_missing_and_not_a_half() -> None:
    rows = compared(
        lambda a, b, c: None if a == "mute" else "A" if a == "good" else "B",
        [("good", "bad")] * 6 + [("good", "mute")] * 2,
    )
    assert [share for share in item_values(rows).values()].count(None) == 2
    found = pairwise_estimates(rows, rng=rng())
    assert (found.win_share.value, found.win_share.n, found.win_share.n_missing) == (1.0, 6, 2)
    with pytest.raises(InputError, match="a verdict in both orders"):
        pairwise_estimates(compared(lambda a, b, c: None, [("good", "bad")]), rng=rng())


def test_all_ties_have_no_decisive_share() -> None:
    found = pairwise_estimates(compared(lambda a, b, c: "tie", [("good", "bad")] * 12), rng=rng())
    assert (found.win_share.value, found.ties.value) == (0.5, 1.0)
    assert found.decisive is found.first_position is None


@given(st.lists(st.sampled_from(["A", "B", "tie"]), min_size=24, max_size=24))
def test_exchanging_the_variants_mirrors_the_share(verdicts: list[str]) -> None:
    def told(rows: list[tuple[str, str]]) -> float:
        told = iter(verdicts)
        memory: dict[tuple[str, str], str] = {}

        def verdict(a: str, b: str, criterion: str) -> str:
            if (a, b) not in memory:
                memory[a, b] = next(told)
            return memory[a, b]

        # The judge sees the very same pairs in both calls; who is called first differs.
        for one, other in texts:
            verdict(one, other, "")
            verdict(other, one, "")
        return pairwise_estimates(compared(verdict, rows), rng=rng()).win_share.value

    texts = [(f"a{i}", f"b{i}") for i in range(12)]
    assert told(texts) == pytest.approx(1 - told([(b, a) for a, b in texts]))


def test_pairs_are_blind_and_must_have_both_sides() -> None:
    asked = prompts(2)
    first = [generation("hello", p, variant="new") for p in asked]
    second = [generation("bye", p, variant="old", finish="error" if p.id == "p1" else "stop") for p in asked]
    pairs = judged_pairs(asked, first, second)
    assert [(p.reply, p.opponent, p.missing) for p in pairs] == [("hello", "bye", None), ("hello", "", "failed")]
    assert "new" not in repr(pairs)
    with pytest.raises(InputError, match="must have a reply on both sides, got only new's"):
        judged_pairs(asked, first, second[:1])
    with pytest.raises(InputError, match="must be one of the prompts given"):
        judged_pairs(asked[:1], first, second)
    with pytest.raises(InputError, match="of one criterion, judge and two variants"):
        pairwise_estimates([], rng=rng())


# ── controls ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def controls(n: int = 120) -> list[ControlItem]:
    kinds: dict[str, Any] = {"other_film": "discrimination", "echo": "adversarial"}
    return [
        ControlItem(
            id=f"{family}{i}",
            criterion="coherence",
            family=family,
            kind=kind,
            messages=said(f"question {i}"),
            true_reply=f"true {i}",
            control_reply=f"{family} {i}",
            cluster=f"film{i % 120}",
        )
        for family, kind in kinds.items()
        for i in range(n)
    ]


def test_a_judge_that_prefers_true_replies_qualifies_and_one_of_position_does_not() -> None:
    good = ScriptedComparer(verdict=lambda a, b, c: "A" if a.startswith("true") else "B", criteria=(COHERENCE,))
    found = qualify(good, controls(), rng=rng())[0]
    assert (found.status, found.reason) == ("qualified", "told from the true reply in every family")
    assert [f.auc.value for f in found.families] == [1.0, 1.0]
    assert sure(found.position_consistency).value == sure(found.repeatability).value == 1.0

    # Every share is one half, so a film counts as one trial: 60 of 120, whose upper bound lies at 0.59.
    placed = ScriptedComparer(verdict=lambda a, b, c: "A", criteria=(COHERENCE,))
    found = qualify(placed, controls(), rng=rng())[0]
    assert found.status == "not_qualified"
    assert sure(found.first_position).value == 1.0
    assert [f.concordance.value for f in found.families] == [0.5, 0.5]


def test_missing_verdicts_are_counted_and_nothing_scored_is_no_pass() -> None:
    silent = ScriptedComparer(verdict=lambda a, b, c: None, criteria=(COHERENCE,))
    found = qualify(silent, controls(), rng=rng())[0]
    assert (found.status, found.families) == ("not_qualified", ())
    assert found.position_consistency is None
