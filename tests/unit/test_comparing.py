"""A pairwise judge as a measure of an experiment: shares of wins against the control, row by row."""

from __future__ import annotations

from typing import Literal

import pytest
from asked import prompt, replies, reply
from fakes import ScriptedComparer, ScriptedJudge

from harness.errors import ConfigError, InputError
from harness.experiment.judges.pairwise_stages import compare_replies, versus_rows
from harness.experiment.measured_arms import Replies
from harness.judging import load_criterion

PROMPTS = [prompt(f"p{i}") for i in range(3)]


def of(variant: str, *texts: str) -> Replies:
    return replies(*(reply(p.id, text, variant=variant) for p, text in zip(PROMPTS, texts, strict=True)))


def test_a_variant_scores_one_half_or_nothing_against_the_control_and_the_control_one_half() -> None:
    def verdict(a: str, b: str, criterion: str) -> Literal["A", "B"] | None:
        if "mute" in (a, b):
            return None
        if "tie" in (a, b):
            return "A"  # by position alone
        return "A" if a == "good" else "B"

    judge = ScriptedComparer(verdict=verdict, criteria=(load_criterion("coherence"),))
    new, old = of("new", "good", "tie", "mute"), of("old", "bad", "bad", "bad")
    compared = compare_replies(judge, new, old, PROMPTS, lambda progress: None)
    assert len(compared) == 6
    rows = versus_rows(judge, {"old": old.generations, "new": new.generations}, compared, control="old")
    values = {(r.variant, r.prompt_id): (r.value, r.status) for r in rows}
    assert values == {
        **{("old", p.id): (0.5, "ok") for p in PROMPTS},
        ("new", "p0"): (1.0, "ok"),
        ("new", "p1"): (0.5, "ok"),
        ("new", "p2"): (None, "failed"),
    }
    assert {r.reason for r in rows if r.variant == "old"} == {"the control against itself: one half, by definition"}


def test_a_variant_is_compared_with_another_by_a_judge_that_compares() -> None:
    judge = ScriptedComparer(verdict=lambda a, b, c: "A", criteria=(load_criterion("coherence"),))
    same = of("new", "a", "b", "c")
    with pytest.raises(InputError, match="must be compared with another variant, got itself"):
        compare_replies(judge, same, same, PROMPTS, lambda progress: None)
    alone = ScriptedJudge(value=lambda item, criterion: 1.0, criteria=judge.criteria)
    with pytest.raises(ConfigError, match="must be a pairwise judge to compare replies"):
        compare_replies(alone, same, of("old", "a", "b", "c"), PROMPTS, lambda progress: None)
