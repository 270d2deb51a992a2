"""A function as a judge: a score or a missing one per item, qualified like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nouns import item

import screentest
from harness.doors import functions
from harness.errors import ConfigError, InputError, JudgeError
from harness.judging.controls import make_control_set
from harness.judging.judge_builder import build_judge, judge_id
from harness.judging.qualification import without_controls
from harness.judging.spec import load_judge_spec
from harness.types import JudgedItem


def items(*replies: str | None) -> list[JudgedItem]:
    return [item(r or "", id=str(i), missing="refused" if r is None else None) for i, r in enumerate(replies)]


def built(function: Any, criteria: Sequence[str] = ("politeness",)) -> Any:
    judge = screentest.judge(family="rules", criteria=criteria)(function)
    functions.lend(judge.address, judge)
    return build_judge(judge.spec())


def test_a_good_judge_scores_and_silence_is_missing() -> None:
    scores = built(lambda items: np.array([len(i.reply) for i in items])).score(items("abc", "", None, "x"))
    assert [s.value for s in scores] == [3.0, None, None, 1.0]
    assert [s.status for s in scores] == ["ok", "empty", "refused", "ok"]


def test_one_item_that_it_raises_on_costs_no_other() -> None:
    def brittle(items: Any) -> Any:
        return [1 / len(i.reply.strip("x")) for i in items]

    scores = built(brittle).score(items("ab", "xx", "abcd"))
    assert [s.value for s in scores] == [0.5, None, 0.25]
    assert scores[1].reason.startswith("ZeroDivisionError")


@given(st.none() | st.text() | st.floats() | st.booleans() | st.lists(st.integers(), max_size=2))
def test_whatever_it_returns_is_a_number_or_a_missing_score(value: Any) -> None:
    [score] = built(lambda items: [value]).score(items("hm"))
    assert (score.value is None) == (score.status != "ok")


@pytest.mark.parametrize("returned", [None, 3, "good", [1], [1, 2, 3]])
def test_other_than_one_score_per_item_is_refused(returned: Any) -> None:
    with pytest.raises(JudgeError, match="one score per item"):
        built(lambda items: returned).score(items("a", "b"))


def test_several_criteria_are_a_mapping_and_an_item_is_scored_on_what_it_asks_for() -> None:
    judge = built(lambda items: [{"warmth": 1, "coherence": 2} for _ in items], ["warmth", "coherence"])
    assert [(s.criterion, s.value) for s in judge.score(items("a"))] == [("warmth", 1.0), ("coherence", 2.0)]
    with pytest.raises(JudgeError, match="mapping of its criteria"):
        built(lambda items: [1 for _ in items], ["warmth", "coherence"]).score(items("a"))


def test_its_id_is_its_source_and_not_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    head = "import screentest as st\n@st.judge(family='r', criteria=['politeness'])\n"
    text = head + "def kind(items): return [{}] * len(items)\n"
    for name, n in (("own_j1", 1), ("own_j2", 2), ("own_j3", 1)):
        (tmp_path / f"{name}.py").write_text(text.format(n))
    one, two, three = (judge_id(load_judge_spec(tmp_path / f"own_j{i}:kind")) for i in (1, 2, 3))
    assert one == three != two
    with pytest.raises(InputError, match="must be a judge"):
        load_judge_spec(Path("json:dumps"))


def test_no_file_makes_one(tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text(
        "schema: 1\nname: x\nmethod: function\nmode: function\nmodel: {source: embedded}\nfamily: f\n"
        "criteria: [fluency]\n"
    )
    with pytest.raises(ConfigError, match="module:function"):
        load_judge_spec(tmp_path)


def test_a_criterion_that_nothing_is_planted_for_is_inconclusive() -> None:
    assert make_control_set([], seed=1, n=4, criteria=["politeness"]) == []
    [found] = without_controls("polite@1", ["politeness"])
    assert (found.status, found.reason) == ("inconclusive", "no controls of this criterion")
