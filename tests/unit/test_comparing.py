"""A pairwise judge as a measure of an experiment: shares of wins against the control, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from fakes import ScriptedComparer, ScriptedJudge

from harness.errors import ConfigError, InputError
from harness.experiment.judges.pairwise_stages import compare_replies, versus_rows
from harness.experiment.measured_arms import Replies
from harness.judging import load_criterion
from harness.store.tracking import StageResult
from harness.types import Generation, Message, Prompt

PROMPTS = [
    Prompt(id=f"p{i}", messages=(Message(role="user", content="well?"),), split="test", cluster=f"film{i}")
    for i in range(3)
]
STAGE = StageResult(
    name="generate",
    run_id="r",
    source_run_id="r",
    reused=False,
    folder=Path(),
    digest="d",
    fingerprint="f",
    seconds=0.0,
    inputs={},
)


def replies(variant: str, texts: list[str]) -> Replies:
    generations = tuple(
        Generation(
            prompt_id=p.id,
            variant=variant,
            draw=0,
            text=text,
            seed=0,
            n_tokens=None,
            finish_reason="stop",
            cluster=p.cluster,
        )
        for p, text in zip(PROMPTS, texts, strict=True)
    )
    return Replies(variant=variant, generations=generations, stage=STAGE)


def test_a_variant_scores_one_half_or_nothing_against_the_control_and_the_control_one_half() -> None:
    def verdict(a: str, b: str, criterion: str) -> Literal["A", "B"] | None:
        if "mute" in (a, b):
            return None
        if "tie" in (a, b):
            return "A"  # by position alone
        return "A" if a == "good" else "B"

    judge = ScriptedComparer(verdict=verdict, criteria=(load_criterion("coherence"),))
    new, old = replies("new", ["good", "tie", "mute"]), replies("old", ["bad", "bad", "bad"])
    compared = compare_replies(judge, new, old, PROMPTS, lambda progress: None)
    assert len(compared) == 6
    rows = versus_rows(judge, {"old": old.generations, "new": new.generations}, compared, control="old")
    values = {(r.variant, r.prompt_id): (r.value, r.status) for r in rows}
    assert values == {
        ("old", "p0"): (0.5, "ok"),
        ("old", "p1"): (0.5, "ok"),
        ("old", "p2"): (0.5, "ok"),
        ("new", "p0"): (1.0, "ok"),
        ("new", "p1"): (0.5, "ok"),
        ("new", "p2"): (None, "failed"),
    }
    assert {r.reason for r in rows if r.variant == "old"} == {"the control against itself: one half, by definition"}


def test_a_variant_is_compared_with_another_by_a_judge_that_compares() -> None:
    judge = ScriptedComparer(verdict=lambda a, b, c: "A", criteria=(load_criterion("coherence"),))
    same = replies("new", ["a", "b", "c"])
    with pytest.raises(InputError, match="must be compared with another variant, got itself"):
        compare_replies(judge, same, same, PROMPTS, lambda progress: None)
    alone = ScriptedJudge(value=lambda item, criterion: 1.0, criteria=judge.criteria)
    with pytest.raises(ConfigError, match="must be a pairwise judge to compare replies"):
        compare_replies(alone, same, replies("old", ["a", "b", "c"]), PROMPTS, lambda progress: None)
