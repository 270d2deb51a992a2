"""The rule that licenses a judge, on judges whose power is known."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import pytest
from certain import holds, sure
from fakes import ScriptedJudge
from nouns import said

from harness.errors import InputError
from harness.judging import is_self_judging, load_criterion, qualify
from harness.judging.control_rule import MAX_MISSING
from harness.seeding import stream, uniform
from harness.types import ControlItem, JudgedItem, Qualification

COHERENCE, FLUENCY = load_criterion("coherence"), load_criterion("fluency")


def controls(n: int, *, family: str = "other_film", kind: str = "discrimination", films: int = 30) -> list[ControlItem]:
    return [
        ControlItem(
            id=f"{family}-{i}",
            criterion="coherence",
            family=family,
            kind="adversarial" if kind == "adversarial" else "discrimination",
            messages=said(f"context {i}"),
            true_reply="true reply" + " and more" * (i % 5),
            control_reply=f"{family} reply",
            cluster=f"film{i % films}",
        )
        for i in range(n)
    ]


def normal_judge(shift: float, *, faults: dict[str, float] | None = None) -> ScriptedJudge:
    """Scores are standard normal, true replies `shift` higher; `faults` names the shift of single families."""

    def value(item: JudgedItem, criterion: str) -> float:
        noise = NormalDist().inv_cdf(uniform(0, item.messages[0].content, item.reply))
        if item.reply.startswith("true"):
            return noise + shift
        return noise + (faults or {}).get(item.reply.removesuffix(" reply"), 0.0)

    return ScriptedJudge(value=value, criteria=(COHERENCE,))


def qualified(judge: ScriptedJudge, items: list[ControlItem], **options: Any) -> Qualification:
    [result] = qualify(judge, items, rng=stream(0, "t"), **options)
    return result


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_judge_with_power_is_qualified() -> None:
    # Two normals 1.5 apart: AUC = Φ(1.5 / √2) = 0.856.
    result = qualified(normal_judge(1.5), controls(200))
    assert result.status == "qualified"
    [family] = result.families
    assert holds(family.auc, 0.856)
    assert sure(family.auc.low) > 0.60
    assert (family.auc.n, family.auc.n_clusters, family.auc.n_missing) == (400, 30, 0)
    assert family.concordance.n == 200
    assert family.settle == ""
    assert "every family" in result.reason


def test_a_judge_without_power_is_not_qualified() -> None:
    result = qualified(normal_judge(0.0), controls(400))
    assert result.status == "not_qualified"
    assert "surely below" in result.reason


def test_too_few_controls_are_inconclusive_and_it_says_how_many_would_do() -> None:
    def value(item: JudgedItem, criterion: str) -> float:  # the same forty scores over and over: the AUC stays
        number = int(item.messages[0].content.split()[1]) % 40
        return NormalDist().inv_cdf(uniform(1, number, item.reply[:4])) + (0.5 if item.reply.startswith("true") else 0)

    judge = ScriptedJudge(value=value, criteria=(COHERENCE,))
    few = qualified(judge, controls(40, films=40))
    assert few.status == "inconclusive"
    found = re.fullmatch(r"about (\d+) controls instead of 40, from as many times the films", few.families[0].settle)
    assert found is not None
    enough = 40 * math.ceil(int(found[1]) / 40)
    assert qualified(judge, controls(enough, films=enough)).status != "inconclusive"
    nearly = 40 * (int(found[1]) // 80)
    assert qualified(judge, controls(nearly, films=nearly)).status == "inconclusive"


def test_every_family_must_be_passed() -> None:
    good, loop = controls(150), controls(150, family="looped", kind="adversarial")
    assert qualified(normal_judge(1.5), good + loop).status == "qualified"
    fooled = qualified(normal_judge(1.5, faults={"looped": 4.0}), good + loop)
    assert fooled.status == "not_qualified"
    assert {f.family: f.status for f in fooled.families} == {"other_film": "qualified", "looped": "not_qualified"}
    assert "looped: preferred to the true reply in 9" in fooled.reason


def test_preferring_an_adversarial_control_disqualifies_even_where_the_interval_is_wide() -> None:
    # Context i: true reply i, echo half a point above it in three of five and half a point below in two.
    def value(item: JudgedItem, criterion: str) -> float:
        number = int(item.messages[0].content.split()[1])
        return number if item.reply.startswith("true") else number + (0.5 if number < 3 else -0.5)

    judge = ScriptedJudge(value=value, criteria=(COHERENCE,))
    result = qualified(judge, controls(5, family="echo", kind="adversarial"))
    assert result.families[0].concordance.value == pytest.approx(0.4)
    assert sure(result.families[0].auc.high) > 0.60
    assert result.status == "not_qualified"
    assert qualified(judge, controls(5, family="echo")).status == "inconclusive"  # no trap, only a hard control


def test_one_film_gives_no_interval_and_no_licence() -> None:
    result = qualified(normal_judge(3.0), controls(30, films=1))
    assert result.status == "inconclusive"
    assert result.families[0].auc.low is None
    assert "second film" in result.families[0].settle


# ── missing scores ───────────────────────────────────────────────────────────────────────────────────────────────────


def missing_in(judge: ScriptedJudge, share: float) -> ScriptedJudge:
    inner: Callable[[JudgedItem, str], float | None] = judge.value

    def value(item: JudgedItem, criterion: str) -> float | None:
        return None if uniform(1, item.id) < share else inner(item, criterion)

    return dataclasses.replace(judge, value=value)


def test_missing_scores_are_counted_and_enter_nowhere() -> None:
    result = qualified(missing_in(normal_judge(2.0), 0.05), controls(200))
    family = result.families[0]
    assert result.status == "qualified"
    assert family.auc.n_missing > 0
    assert family.concordance.n + family.concordance.n_missing == 200
    assert family.auc.n == 2 * family.concordance.n


def test_a_judge_that_skips_much_is_not_licensed_by_the_rest() -> None:
    result = qualified(missing_in(normal_judge(2.0), 0.3), controls(200))
    family = result.families[0]
    assert family.concordance.n_missing > MAX_MISSING * 200
    assert result.status == "inconclusive"
    assert "missing score" in family.settle


def test_a_judge_that_scores_nothing_is_not_qualified() -> None:
    result = qualified(ScriptedJudge(value=lambda item, criterion: None, criteria=(COHERENCE,)), controls(20))
    assert result.status == "not_qualified"
    assert result.families == ()
    assert "other_film: nothing could be scored" in result.reason
    assert result.length_sensitivity is None


# ── beside the rule ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_replies_that_families_share_are_scored_once() -> None:
    judge = normal_judge(1.0)
    qualified(judge, controls(20) + controls(20, family="looped", kind="adversarial"))
    assert judge.calls == [60, 10]  # 20 true + 20 + 20, then ten true replies again


def test_repeatability_is_the_share_scored_the_same_twice() -> None:
    steady = sure(qualified(normal_judge(1.0), controls(40)).repeatability)
    assert steady.value == 1.0 > sure(steady.low)
    n = iter(range(10_000))
    moody = ScriptedJudge(value=lambda item, criterion: float(next(n)), criteria=(COHERENCE,))
    assert sure(qualified(moody, controls(40)).repeatability).value == 0.0


def test_length_sensitivity_is_the_rank_correlation_with_length_on_true_replies() -> None:
    longer = ScriptedJudge(value=lambda item, criterion: float(len(item.reply)), criteria=(COHERENCE,))
    assert sure(qualified(longer, controls(40)).length_sensitivity).value == pytest.approx(1.0)
    constant = ScriptedJudge(value=lambda item, criterion: 3.0, criteria=(COHERENCE,))
    assert qualified(constant, controls(40)).length_sensitivity is None


def test_each_criterion_is_judged_by_its_own_controls() -> None:
    judge = dataclasses.replace(normal_judge(2.0), criteria=(FLUENCY, COHERENCE))
    fluency, coherence = qualify(judge, controls(100), rng=stream(0, "t"))
    assert (fluency.criterion, fluency.status) == ("fluency", "inconclusive")
    assert fluency.reason == "no controls of this criterion"
    assert coherence.status == "qualified"


def test_the_same_controls_give_the_same_result_whatever_is_judged_beside_them() -> None:
    alone = qualified(normal_judge(1.0), controls(50))
    assert alone == qualified(normal_judge(1.0), controls(50))
    both = dataclasses.replace(normal_judge(1.0), criteria=(FLUENCY, COHERENCE))
    beside = [dataclasses.replace(c, criterion="fluency", id=f"f-{c.id}") for c in controls(40)]
    _, coherence = qualify(both, [*beside, *controls(50)], rng=stream(0, "t"))
    assert coherence.length_sensitivity == alone.length_sensitivity


@pytest.mark.parametrize(
    ("items", "options", "rule"),
    [
        ([], {}, "`controls` must hold some of the judge's criteria"),
        (controls(3), {"min_auc": 0.4}, "`min_auc` must lie in"),
        (controls(3), {"level": 1.0}, "`level` must lie in"),
        ([*controls(3), dataclasses.replace(controls(1)[0], kind="adversarial")], {}, "must be of one kind"),
    ],
)
def test_wrong_input_is_refused(items: list[ControlItem], options: dict[str, float], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        qualified(normal_judge(1.0), items, **options)


@pytest.mark.parametrize(
    ("judge", "variants", "expected"),
    [
        ("smollm2", ["smollm2", "smollm2"], True),
        ("smollm2", ["qwen2.5"], False),
        ("SmolLM2", ["qwen2.5", "smollm2 "], True),
        ("gpt-4o", [None, "qwen2.5"], False),
        ("gpt-4o", [], False),
    ],
)
def test_a_judge_of_its_own_kind_is_noticed(judge: str, variants: list[str | None], expected: bool) -> None:
    assert is_self_judging(judge, variants) is expected


def test_a_second_judge_scores_the_repetition_where_the_first_would_look_it_up() -> None:
    remembers, asks = normal_judge(1.0), ScriptedJudge(value=lambda item, criterion: 9.0, criteria=(COHERENCE,))
    [result] = qualify(remembers, controls(40), rng=stream(0, "t"), again=asks)
    assert len(remembers.calls) == len(asks.calls) == 1
    assert asks.calls[0] <= 14
    assert sure(result.repeatability).value == 0.0  # the first never says 9
