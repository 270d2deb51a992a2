"""Coherence and fluency by hand on a model of one token per word, and what cannot be scored."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import nouns
import pytest
from fakes import WordModel
from hostile import HOSTILE

from harness.errors import UnavailableError
from harness.judging import load_criterion
from harness.judging.methods.likelihood import LikelihoodJudge
from harness.judging.neutralise import neutralise
from harness.models.chat_templates import DIALOGUE_SYSTEM
from harness.models.protocol import LanguageModel
from harness.types import JudgedItem, Message

COHERENCE, FLUENCY = load_criterion("coherence"), load_criterion("fluency")


def judge(model: LanguageModel) -> LikelihoodJudge:
    return LikelihoodJudge(id="j@0", family="fake", criteria=(COHERENCE, FLUENCY), model=model, max_bytes=6000)


def item(reply: str, *texts: str, **more: Any) -> JudgedItem:
    return nouns.item(reply, *(texts or ("where is our boat",)), **more)


def test_coherence_is_the_gain_per_word_and_fluency_the_likelihood_without_history() -> None:
    # Words of the conversation cost 1 nat, others 3. "our boat sank": after the conversation −1 −1 −3, alone −3 −3 −3.
    coherence, fluency = judge(WordModel()).score([item("our boat sank")])
    assert (coherence.criterion, fluency.criterion) == ("coherence", "fluency")
    assert coherence.total == pytest.approx(4.0)
    assert coherence.value == pytest.approx(4 / 3)
    assert fluency.total == pytest.approx(-9.0)
    assert fluency.value == pytest.approx(-3.0)  # the end token's −100 is in neither
    assert coherence.n_tokens == fluency.n_tokens == 3
    assert {coherence.mode, fluency.mode} == {"likelihood"}


def test_both_criteria_come_from_two_passes_over_each_different_reply() -> None:
    model = WordModel()
    items = [
        item("our boat sank", id="a"),
        item("I do not know", id="b"),
        item("I do not know", "and now", id="c"),
    ]
    scores = judge(model).score(items)
    assert [(s.item_id, s.criterion) for s in scores] == [(i, c) for i in "abc" for c in ("coherence", "fluency")]
    # Two different replies alone, three different pairs of history and reply; nothing twice.
    alone = f"{DIALOGUE_SYSTEM}\n"
    assert sorted(model.seen) == sorted([alone] * 2 + [alone + "where is our boat"] * 2 + [alone + "and now"])


def test_an_item_can_ask_for_one_criterion_and_costs_no_more() -> None:
    model = WordModel()
    scores = judge(model).score([replace(item("our boat sank"), criteria=("fluency",))])
    assert [s.criterion for s in scores] == ["fluency"]
    assert len(model.seen) == 1


def test_one_bad_item_spoils_nothing() -> None:
    items = [item("the boat", id="a"), item("the curse", id="b"), item("a boat", id="c", is_truncated=True)]
    orphan = replace(item("yes", id="d"), messages=())
    own = replace(item("yes", id="e"), messages=(Message(role="assistant", content="I spoke last"),))
    scores = judge(WordModel(refuses="curse")).score([*items, orphan, own])
    status = {(s.item_id): s.status for s in scores}
    assert status == {"a": "ok", "b": "failed", "c": "ok", "d": "unsupported", "e": "unsupported"}
    reasons = {s.item_id: s.reason for s in scores}
    assert "curse" in reasons["b"]
    assert "cut off" in reasons["c"]  # scored as far as it goes


def test_a_number_that_is_none_is_missing() -> None:
    for score in judge(WordModel(word_logprob=lambda word, chat: -math.inf)).score([item("the boat")]):
        assert (score.value, score.status) == (None, "failed")


def test_a_missing_capability_is_not_an_items_fault() -> None:
    class Broken(WordModel):
        def continuation_logprobs(self, requests: object, *, on_progress: object = None) -> Any:
            raise UnavailableError("`cuda` is gone")

    with pytest.raises(UnavailableError):
        judge(Broken()).score([item("the boat")])


def test_hostile_text_gives_a_score_or_a_status_and_never_a_control_token() -> None:
    model = WordModel()
    scores = judge(model).score([item(text, text or "well", id=str(i)) for i, text in enumerate(HOSTILE)])
    assert [s.item_id for s in scores[::2]] == [str(i) for i in range(len(HOSTILE))]
    assert {s.status for s in scores} <= {"ok", "empty", "truncated", "unsupported"}
    for score, text in zip(scores[::2], HOSTILE, strict=True):
        assert score.status == "truncated" or len(neutralise(text)) < 8_000
        assert score.status == "empty" or neutralise(text)
    assert not any("<" in chat or "[INST]" in chat for chat in model.seen)
