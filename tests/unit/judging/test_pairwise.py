"""The pairwise judge in its four steps, and what hostile text can do to it: nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import UniformModel, WordModel
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import JudgeError
from harness.judging import asking, load_criterion, load_judge_spec
from harness.judging.choice_reading import LocalReader
from harness.judging.fitting import fit
from harness.judging.methods import pairwise
from harness.judging.methods.pairwise import PairwiseJudge
from harness.judging.neutralise import neutralise
from harness.models.protocol import LanguageModel, OptionProbabilities
from harness.types import JudgedItem, Message, Place, Score

PROMPT = Path(__file__).resolve().parents[3] / "experiments" / "judges" / "embedded-pairwise" / "prompt.txt"
TEMPLATE = asking.read_template(PROMPT.read_text(encoding="utf-8"), method="pairwise", parts=pairwise.PARTS)
COHERENCE, FLUENCY = load_criterion("coherence"), load_criterion("fluency")
CRITERIA = (COHERENCE, FLUENCY)


def pair(first: str = "It sank.", second: str = "Bees.", said: str = "Where is the boat?", **kwargs: Any) -> JudgedItem:
    messages = (Message(role="user", content=said, name="MARTA"),)
    return JudgedItem(id="p", messages=messages, reply=first, opponent=second, cluster="film", **kwargs)


def judge(model: LanguageModel, *, max_bytes: int = 6000) -> PairwiseJudge:
    return PairwiseJudge(
        id="j@0",
        family="fake",
        criteria=CRITERIA,
        reader=LocalReader(model=model),
        template=TEMPLATE,
        min_mass=0.2,
        max_bytes=max_bytes,
    )


JUDGE = judge(UniformModel())


def question(p: JudgedItem, place: Place = "first") -> str:
    fitted = fit(p, criteria=CRITERIA, max_bytes=6000)
    return str(JUDGE.render(fitted, COHERENCE, place).messages[-1]["content"])


# ── render ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_two_orders_exchange_the_replies_and_nothing_else() -> None:
    one, other = question(pair("It sank.", "Bees.")), question(pair("It sank.", "Bees."), "second")
    assert "<reply_a>\nIt sank.\n</reply_a>\n\n<reply_b>\nBees.\n</reply_b>" in one
    assert "<reply_a>\nBees.\n</reply_a>\n\n<reply_b>\nIt sank.\n</reply_b>" in other
    assert other == question(pair("Bees.", "It sank."))
    assert one[: one.index("<reply_a>")] == other[: other.index("<reply_a>")]
    assert "P: Where is the boat?" in one
    assert "MARTA" not in one


def test_a_cut_reply_is_marked_wherever_it_stands() -> None:
    mark = "(The reply was cut off here at the length limit.)"
    cut = pair("It sa", "Bees.", is_truncated=True)
    assert f"<reply_a>\nIt sa\n{mark}" in question(cut)
    assert f"<reply_b>\nIt sa\n{mark}" in question(cut, "second")
    assert f"Bees.\n{mark}" in question(pair("It sank.", "Bees.", is_opponent_truncated=True))
    verdicts = judge(WordModel(score=lambda chat: "A")).score([pair("a", "b", is_opponent_truncated=True)])
    assert all("cut off" in v.reason for v in verdicts)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:24]))
@pytest.mark.parametrize("side", ["first", "second"])
def test_hostile_text_does_not_change_the_form(text: str, side: str) -> None:
    replies: dict[str, Any] = {"first": "REPLY", "second": "REPLY", side: text}
    wild = fit(pair(**replies, said=text or "well"), criteria=CRITERIA, max_bytes=6000)
    if wild.status != "ok":
        assert wild.status in ("empty", "truncated", "unsupported")
        return
    lines = JUDGE.render(wild, COHERENCE, "first").messages[-1]["content"].split("\n")
    tame = question(pair("REPLY", "REPLY", "SAID")).split("\n")
    changed = [i for i, (a, b) in enumerate(zip(tame, lines, strict=True)) if a != b]
    # Only the lines that hold graded text differ, and each holds all of it.
    assert {tame[i] for i in changed} <= {"P: SAID", "REPLY"}
    assert neutralise(text) in lines[changed[-1]]
    assert sum(line.count("<") for line in lines) == sum(line.count("<") for line in tame)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_leaves_the_form_and_the_count_of_verdicts(first: str, second: str) -> None:
    verdicts = judge(WordModel(score=lambda chat: "A")).score([pair(first, second)])
    assert [(v.criterion, v.shown_first) for v in verdicts] == [
        (c.name, place) for c in CRITERIA for place in ("first", "second")
    ]
    is_empty = not neutralise(first) or not neutralise(second)
    assert {v.status for v in verdicts} == ({"empty"} if is_empty else {"ok"})


# ── fitting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_old_turns_make_room_for_both_replies_and_replies_are_never_shortened() -> None:
    messages = tuple(Message(role="user" if i % 2 == 0 else "assistant", content="x" * 100) for i in range(5))
    long = replace(pair("a" * 50, "b" * 150), messages=messages)
    fitted = fit(long, criteria=CRITERIA, max_bytes=420)
    assert len(fitted.messages) == 2  # 50 + 150 + 2 · 100 fit in 420, a third turn does not
    assert "oldest 3 turns" in fitted.reason
    assert fit(long, criteria=CRITERIA, max_bytes=256).status == "truncated"
    assert fit(pair("", "b"), criteria=CRITERIA, max_bytes=420).status == "empty"
    assert fit(pair("a", " "), criteria=CRITERIA, max_bytes=420).status == "empty"


# ── aggregate ────────────────────────────────────────────────────────────────────────────────────────────────────────


def verdict(p: tuple[float, float, float], *, mass: float = 0.9, shown: Place = "first") -> Score:
    answer = OptionProbabilities(key="k", options=pairwise.VERDICTS, probabilities=p, mass=mass, entropy=0.5)
    return JUDGE.aggregate(answer, fit(pair(), criteria=CRITERIA, max_bytes=6000), COHERENCE, shown)


def test_the_most_likely_verdict_is_turned_round_with_the_order() -> None:
    assert verdict((0.6, 0.3, 0.1)).preferred == "first"
    turned = verdict((0.6, 0.3, 0.1), shown="second")
    assert (turned.preferred, turned.probabilities) == ("second", (0.3, 0.6, 0.1))
    assert verdict((0.2, 0.3, 0.5)).preferred == "tie"
    assert verdict((0.45, 0.45, 0.1)).preferred == "tie"


@given(st.lists(st.floats(0.001, 1), min_size=3, max_size=3), st.booleans())
def test_exchanging_the_replies_exchanges_the_verdict(weights: list[float], is_first: bool) -> None:
    a, b, tie = (w / sum(weights) for w in weights)
    shown: Place = "first" if is_first else "second"
    one = verdict((a, b, tie), shown=shown)
    other = verdict((b, a, tie), shown=shown)
    exchanged = {"first": "second", "second": "first", "tie": "tie"}
    assert one.preferred is not None
    assert other.preferred == exchanged[one.preferred]


# ── together ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_judge_that_reads_prefers_the_same_reply_in_both_orders() -> None:
    def reads(chat: str) -> str:
        return "A" if chat.index("It sank.") < chat.index("Bees.") else "B"

    verdicts = judge(WordModel(score=reads)).score([pair("It sank.", "Bees.")])
    assert [v.preferred for v in verdicts] == ["first"] * 4
    # 0.9 on the verdict named, 0.05 on each other; turned round in the second order.
    assert [v.probabilities for v in verdicts[:2]] == [pytest.approx((0.9, 0.05, 0.05))] * 2
    assert {v.mode for v in verdicts} == {"exact"}


def test_verdicts_must_be_single_tokens() -> None:
    spec = load_judge_spec(PROMPT.parent)
    assert pairwise.METHOD.build(spec, "j@0", WordModel(score=lambda chat: "A")).compares
    with pytest.raises(JudgeError, match="the verdicts A, B and C cannot be read from this model"):
        pairwise.METHOD.build(spec, "j@0", WordModel(refuses="Judge this."))
