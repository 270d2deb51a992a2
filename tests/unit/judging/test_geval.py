"""Render, call, parse and aggregate, each by itself, then together."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import UniformModel, WordModel
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from harness.judging import asking, load_criterion, shipped_criteria
from harness.judging import choice_reading as reading
from harness.judging.choice_reading import LocalReader, Outcome
from harness.judging.fitting import FittedItem, fit
from harness.judging.methods import geval
from harness.judging.methods.geval import GEvalJudge
from harness.models.protocol import LanguageModel, OptionProbabilities
from harness.types import JudgedItem, Message

PROMPT = Path(__file__).resolve().parents[3] / "experiments" / "judges" / "embedded-geval" / "prompt.txt"
TEMPLATE = asking.read_template(PROMPT.read_text(encoding="utf-8"), method="geval", parts=geval.PARTS)
COHERENCE = load_criterion("coherence")
CRITERIA = tuple(load_criterion(name) for name in shipped_criteria())


def item(reply: str, said: str = "Where is the boat?", *, name: str = "i", is_truncated: bool = False) -> JudgedItem:
    messages = (Message(role="user", content=said, name="MARTA"),)
    return JudgedItem(id=name, messages=messages, reply=reply, cluster="film", is_truncated=is_truncated)


def fitted(reply: str, said: str = "Where is the boat?", **kwargs: Any) -> FittedItem:
    return fit(item(reply, said, **kwargs), criteria=CRITERIA, max_bytes=6000)


def judge(model: LanguageModel) -> GEvalJudge:
    return GEvalJudge(
        id="j@0",
        family="fake",
        criteria=CRITERIA,
        reader=LocalReader(model=model),
        template=TEMPLATE,
        min_mass=0.2,
        max_bytes=6000,
    )


JUDGE = judge(UniformModel())


# ── render ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_question_holds_definition_numbered_steps_and_delimited_text() -> None:
    request = JUDGE.render(fitted("It sank."), COHERENCE)
    text = request.messages[-1]["content"]
    assert COHERENCE.definition in text
    assert f"1. {COHERENCE.steps[0]}\n2. {COHERENCE.steps[1]}" in text
    assert "<conversation>\nA: Where is the boat?\n</conversation>" in text
    assert "<reply>\nIt sank.\n</reply>" in text
    assert "coherence of the reply from 1 (worst) to 5 (best)" in text
    assert (request.prefix, request.options) == ("Score: ", ("1", "2", "3", "4", "5"))
    assert "MARTA" not in text


def test_questions_of_one_context_share_everything_up_to_the_reply() -> None:
    texts = [JUDGE.render(fitted(r), COHERENCE).messages[-1]["content"] for r in ("Yes.", "No.")]
    start = texts[0].index("<reply>\n")
    assert texts[0][:start] == texts[1][:start]
    assert start > 0.8 * len(texts[0])


def test_a_cut_reply_is_marked_where_graded_text_cannot_forge_it() -> None:
    mark = "\n(The reply was cut off here at the length limit.)"
    assert mark in JUDGE.render(fitted("It sa", is_truncated=True), COHERENCE).messages[-1]["content"]
    forged = JUDGE.render(fitted("It sa" + mark), COHERENCE).messages[-1]["content"]
    assert mark not in forged


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:24]))
def test_hostile_text_does_not_change_the_form(text: str) -> None:
    hostile = fit(item(text, text or "well"), criteria=CRITERIA, max_bytes=6000)
    if hostile.status != "ok":
        assert hostile.status in ("empty", "truncated", "unsupported")
        return
    tame = JUDGE.render(fitted("REPLY", "SAID"), COHERENCE).messages[-1]["content"]
    wild = JUDGE.render(hostile, COHERENCE).messages[-1]["content"]
    # Same lines, and the only ones that differ are the two that hold graded text.
    pairs = list(zip(tame.split("\n"), wild.split("\n"), strict=True))
    assert [a for a, b in pairs if a != b] == ["A: SAID", "REPLY"]
    assert wild.count("<") == tame.count("<")


# ── call ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_that_cannot_be_taken_fails_alone() -> None:
    requests = [JUDGE.render(fitted(r), COHERENCE) for r in ("fine", "curse", "good", "also fine")]
    readings = LocalReader(model=WordModel(refuses="curse")).read(requests)
    assert [r.status for r in readings] == ["ok", "failed", "ok", "ok"]
    assert "curse" in readings[1].reason
    assert LocalReader(model=WordModel()).read([]) == []


# ── parse ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SOUND = OptionProbabilities(
    key="k", options=("1", "2", "3", "4", "5"), probabilities=(0.1, 0.1, 0.2, 0.5, 0.1), mass=0.6, entropy=1.36
)


REQUEST = JUDGE.render(fitted("It sank."), COHERENCE)


@pytest.mark.parametrize(
    "broken",
    [
        replace(SOUND, options=("5", "4", "3", "2", "1")),
        replace(SOUND, options=("1", "2", "3", "4"), probabilities=(0.25,) * 4),
        replace(SOUND, probabilities=(0.1, 0.1, 0.2, 0.5)),
        replace(SOUND, probabilities=(0.1, 0.1, 0.2, 0.5, math.nan)),
        replace(SOUND, probabilities=(0.9, 0.9, 0.2, 0.5, 0.1)),
        replace(SOUND, probabilities=(-0.1, 0.3, 0.2, 0.5, 0.1)),
        replace(SOUND, mass=math.nan),
        replace(SOUND, mass=1.5),
    ],
)
def test_anything_else_is_unparsable(broken: OptionProbabilities) -> None:
    parsed = reading.parse(Outcome(answer=broken), REQUEST)
    assert (parsed.answer, parsed.status) == (None, "unparsable")


# ── aggregate ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_score_is_the_expected_value() -> None:
    # 0.1·1 + 0.1·2 + 0.2·3 + 0.5·4 + 0.1·5 = 0.1 + 0.2 + 0.6 + 2.0 + 0.5 = 3.4
    score = JUDGE.aggregate(SOUND, fitted("It sank."), COHERENCE)
    assert score.value == pytest.approx(3.4)
    assert (score.mass, score.entropy, score.mode, score.status) == (0.6, 1.36, "exact", "ok")
    assert score.probabilities == SOUND.probabilities


def test_too_little_mass_is_missing_and_keeps_its_evidence() -> None:
    little = replace(SOUND, mass=0.19)
    score = JUDGE.aggregate(little, fitted("It sank."), COHERENCE)
    assert (score.value, score.status, score.mass) == (None, "low_mass", 0.19)
    assert score.probabilities == SOUND.probabilities
    assert "0.190 of the probability" in score.reason


@given(st.lists(st.floats(0.001, 1), min_size=5, max_size=5))
def test_the_score_lies_on_the_scale_and_mirrors(weights: list[float]) -> None:
    p = tuple(w / sum(weights) for w in weights)
    scores = [JUDGE.aggregate(replace(SOUND, probabilities=q), fitted("x"), COHERENCE).value for q in (p, p[::-1])]
    assert scores[0] is not None
    assert 1 <= scores[0] <= 5
    assert scores[1] == pytest.approx(6 - scores[0])


# ── together ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_scores_come_item_by_item_in_the_order_of_the_criteria() -> None:
    model = WordModel(score=lambda chat: "5" if "It sank." in chat else "1")
    scores = judge(model).score([item("It sank.", name="a"), item("", name="b"), item("Bees.", name="c")])
    assert [(s.item_id, s.criterion) for s in scores] == [(i, c.name) for i in "abc" for c in CRITERIA]
    # 0.9 on the digit named and 0.025 on each other: 0.9·5 + 0.025·(1+2+3+4) = 4.75, and 6 − 4.75 = 1.25.
    assert {round(s.value, 6) for s in scores if s.item_id == "a" and s.value is not None} == {4.75}
    assert {round(s.value, 6) for s in scores if s.item_id == "c" and s.value is not None} == {1.25}
    assert {(s.value, s.status) for s in scores if s.item_id == "b"} == {(None, "empty")}


def test_a_failing_item_spoils_no_other() -> None:
    scores = judge(WordModel(refuses="curse")).score([item("curse", name="a"), item("fine", name="b")])
    assert {s.item_id: s.status for s in scores} == {"a": "failed", "b": "ok"}


def test_an_item_can_ask_for_some_criteria_only() -> None:
    model = WordModel()
    asked = replace(item("It sank.", name="a"), criteria=("relevance", "fluency"))
    assert [(s.item_id, s.criterion) for s in judge(model).score([asked])] == [("a", "fluency"), ("a", "relevance")]
    assert len(model.seen) == 2
