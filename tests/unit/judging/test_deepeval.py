"""The bridge to deepeval: same probabilities, where its score and ours part, and nothing sent or written."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from certain import sure
from fakes import WritingModel
from hostile import HOSTILE
from nouns import item
from stories import EXPERIMENTS, REPOSITORY

from harness.errors import ConfigError, UnavailableError
from harness.judging import build_judge, judge_id, load_criterion, load_judge_spec
from harness.judging.choice_reading import LocalReader
from harness.judging.deepeval import bridge_model
from harness.judging.deepeval.metric_judge import DeepevalJudge, make_judge
from harness.judging.neutralise import neutralise
from harness.judging.spec import DeepevalChoice, JudgeSpec, LocalChoice
from harness.models.protocol import LanguageModel, OptionRequest

if importlib.util.find_spec("deepeval") is None:  # not importorskip, whose import would be a loud one
    pytest.skip("the extra `deepeval` is not installed", allow_module_level=True)

COHERENCE, FLUENCY = load_criterion("coherence"), load_criterion("fluency")
RUBRIC = [{"score_range": [1, 3], "expected_outcome": "bad"}, {"score_range": [4, 5], "expected_outcome": "good"}]
WEIGHTS = {"1": 0.05, "2": 0.1, "3": 0.15, "4": 0.5, "5": 0.2}


def written(score: object = 4) -> str:
    return json.dumps({"reason": "It takes up the question.", "score": score})


def judge(
    model: LanguageModel, *, metric: str = "GEval", criteria: Any = (COHERENCE,), **settings: Any
) -> DeepevalJudge:
    settings = {"rubric": RUBRIC, **settings} if "GEval" in metric else settings
    spec = JudgeSpec(
        schema=1,
        name="d",
        method="deepeval",
        mode="deepeval",
        model=LocalChoice(source="embedded"),
        family="fake",
        criteria=criteria,
        deepeval=DeepevalChoice(metric=metric, settings=settings),
    )
    return make_judge(spec, "d@0", model)


# ── where the two scores agree, and where they part ──────────────────────────────────────────────────────────────────


def test_the_weighted_score_is_ours_on_the_scale_of_the_rubric() -> None:
    """Every digit that has probability is on the scale and has more than 1 %: deepeval's score is Σ p(s)·s."""
    model = WritingModel(text=lambda chat: written(4), weights=WEIGHTS, mass=0.8)
    score = judge(model).score([item("It sank.")])[0]
    # 0.05·1 + 0.1·2 + 0.15·3 + 0.5·4 + 0.2·5 = 3.7; deepeval moves 1…5 to 0…1: (3.7 − 1) / 4 = 0.675.
    assert score.value == pytest.approx(0.675)
    assert (score.status, score.mode, score.mass) == ("ok", "weighted", 0.8)
    request = OptionRequest(key="k", messages=[], prefix="Score: ", options=("1", "2", "3", "4", "5"))
    ours = sure(LocalReader(model=model).read([request])[0].answer)
    expected = math.fsum(p * s for p, s in zip(ours.probabilities, range(1, 6), strict=True))
    assert score.value == pytest.approx((expected - 1) / 4)


def test_deepeval_drops_tokens_under_one_percent_and_we_do_not() -> None:
    model = WritingModel(text=lambda chat: written(5), weights={"5": 0.98, "4": 0.012, "1": 0.008})
    # deepeval: (0.98·5 + 0.012·4) / 0.992; ours would be 0.98·5 + 0.012·4 + 0.008·1 = 4.956.
    expected = ((0.98 * 5 + 0.012 * 4) / 0.992 - 1) / 4
    assert judge(model).score([item("It sank.")])[0].value == pytest.approx(expected)
    assert expected != pytest.approx((4.956 - 1) / 4, abs=1e-3)


def test_deepeval_counts_digits_off_the_scale_and_its_score_may_leave_it() -> None:
    model = WritingModel(text=lambda chat: written(5), weights={"5": 0.5, "9": 0.5})
    score = judge(model).score([item("It sank.")])[0]  # (7 − 1) / 4 = 1.5: no score from 0 to 1
    assert (score.value, score.status) == (None, "unparsable")
    assert "not from 0 to 1" in score.reason


def test_where_deepeval_falls_back_to_the_raw_score_ours_is_missing() -> None:
    from deepeval.metrics import GEval
    from deepeval.test_case import LLMTestCase, SingleTurnParams

    model = WritingModel(text=lambda chat: written(4.0), weights=WEIGHTS)  # 4.0 is no single token
    theirs = GEval(
        name="coherence",
        evaluation_steps=["Look."],
        evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT],
        model=bridge_model(model),
        async_mode=False,
    )
    theirs.measure(LLMTestCase(input="a", actual_output="b"), _show_indicator=False)
    assert theirs.score == pytest.approx(0.4)  # the unweighted number, without a word about it
    score = judge(model).score([item("It sank.")])[0]
    assert (score.value, score.status) == (None, "unparsable")
    assert "fell back to its unweighted score 0.75" in score.reason


# ── the model that deepeval sees ─────────────────────────────────────────────────────────────────────────────────────


def test_the_completion_holds_exact_log_probabilities_at_the_scores_place() -> None:
    model = WritingModel(text=lambda chat: written(4), weights=WEIGHTS, mass=0.8)
    bridged = bridge_model(model)
    completion, cost = bridged.generate_raw_response("Rate this.", top_logprobs=3)
    again, _ = asyncio.run(bridged.a_generate_raw_response("Rate this.", top_logprobs=3))
    assert cost is None
    assert again == completion
    token = completion.choices[0].logprobs.content[0]
    assert (token.token, token.logprob) == ("4", pytest.approx(math.log(0.5 * 0.8)))
    assert [t.token for t in token.top_logprobs] == ["4", "5", "3"]
    assert model.prefixes[0] == '{"reason": "It takes up the question.", "score": '
    assert bridged.generate("x") == asyncio.run(bridged.a_generate("x")) == written(4)
    assert bridged.get_model_name() == "fake"


@pytest.mark.parametrize("score", ["four", None, 10, 3.5, [4], {"n": 4}])
def test_a_score_that_is_no_digit_has_no_log_probabilities(score: object) -> None:
    completion, _ = bridge_model(WritingModel(text=lambda chat: written(score), weights=WEIGHTS)).generate_raw_response(
        ""
    )
    assert completion.choices[0].logprobs is None


# ── missing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    ["", "5", "The score is 5.", "{}", '{"score": 5}', '{"reason": "x"}', '{"reason": "x", "score": ', written(None)],
)
def test_an_answer_that_is_not_the_object_is_missing(text: str) -> None:
    scores = judge(WritingModel(text=lambda chat: text, weights=WEIGHTS)).score(
        [item("It sank."), item("It sank.", id="j")]
    )
    assert [(s.value, s.status) for s in scores] == [(None, "unparsable")] * 2


def test_hostile_text_keeps_the_form_and_ends_as_a_score_or_missing() -> None:
    model = WritingModel(text=lambda chat: written(4), weights=WEIGHTS)
    built = judge(model)
    built.score([item("REPLY", "SAID")])
    tame = model.seen.pop().split("\n")
    scores = built.score([item(text, text or "well", id=str(i)) for i, text in enumerate(HOSTILE)])
    assert len(scores) == len(HOSTILE)
    asked = iter(model.seen)
    for score, text in zip(scores, HOSTILE, strict=True):
        if score.status != "ok":
            assert score.status in ("empty", "truncated", "unsupported")
            continue
        lines = next(asked).split("\n")
        assert len(lines) == len(tame)
        changed = [b for a, b in zip(tame, lines, strict=True) if a != b]
        assert len(changed) <= 2
        for line in changed:  # no JSON object, no picture, no tag can be read out of what is graded
            assert not set(line) & set("{}[]<>")
        if len(neutralise(text).encode()) > 6000:
            raise AssertionError("scored although it was not seen whole")
    assert next(asked, None) is None


# ── other metrics ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversational_metric_reads_the_turns() -> None:
    model = WritingModel(text=lambda chat: written(8), weights={"8": 0.9, "7": 0.1})
    score = judge(model, metric="ConversationalGEval", rubric=None).score([item("It sank.")])[0]
    assert score.value == pytest.approx((0.9 * 8 + 0.1 * 7) / 10)
    assert "Where is the boat?" in model.seen[0]
    assert "It sank." in model.seen[0]


def test_a_metric_without_a_criterion_of_its_own_is_named_by_ours() -> None:
    answers = {"statements": ["It sank."], "verdicts": [{"verdict": "yes", "reason": "x"}], "reason": "on the point"}
    model = WritingModel(text=lambda chat: json.dumps(answers))
    score = judge(model, metric="AnswerRelevancyMetric", criteria=(load_criterion("relevance"),)).score(
        [item("It sank.")]
    )[0]
    assert (score.criterion, score.value, score.mode) == ("relevance", 1.0, "raw")
    with pytest.raises(ConfigError, match="`criteria` of AnswerRelevancyMetric must be one"):
        judge(model, metric="AnswerRelevancyMetric", criteria=(COHERENCE, FLUENCY))


@pytest.mark.parametrize("name", ["Nothing", "BaseMetric", "os", "__builtins__", "g_eval"])
def test_only_a_metric_is_a_metric(name: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a class of deepeval\.metrics"):
        judge(WritingModel(text=str), metric=name)


def test_settings_that_it_does_not_take_are_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"`deepeval\.settings` must be what GEval takes"):
        judge(WritingModel(text=str), warmth=3)
    with pytest.raises(ConfigError, match="max_new_tokens"):
        judge(WritingModel(text=str), max_new_tokens=0)
    with pytest.raises(UnavailableError, match="generate"):
        judge(WritingModel(text=str, supports=frozenset({"option_probabilities"})))


def test_the_shipped_judge_is_built_from_its_folder() -> None:
    spec = load_judge_spec(EXPERIMENTS / "judges" / "embedded-deepeval")
    model = WritingModel(text=lambda chat: written(4), weights=WEIGHTS)
    assert model.base is not None
    built = build_judge(spec, model=replace(model, base=replace(model.base, family="smollm2")))
    assert built.score([item("It sank.")])[0].value == pytest.approx(0.675)
    other = spec.model_copy(
        update={"deepeval": sure(spec.deepeval).model_copy(update={"metric": "ConversationalGEval"})}
    )
    assert judge_id(other, base=model.base) != judge_id(spec, base=model.base)


# ── quiet ────────────────────────────────────────────────────────────────────────────────────────────────────────────

WATCHED = """
import sys
opened = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        opened.append((event, args))
sys.addaudithook(watch)
import os
from fakes import WritingModel
from harness.judging import load_criterion
from harness.judging.deepeval.metric_judge import make_judge
from harness.judging.spec import JudgeSpec
from harness.types import JudgedItem, Message
model = WritingModel(text=lambda chat: '{"reason": "x", "score": 4}', weights={"4": 1.0})
spec = JudgeSpec.model_validate({
    "schema": 1, "name": "d", "method": "deepeval", "mode": "deepeval", "model": {"source": "embedded"},
    "family": "fake", "criteria": (load_criterion("coherence"),), "deepeval": {"metric": "GEval"},
})
judge = make_judge(spec, "d", model)
item = JudgedItem(id="i", messages=(Message(role="user", content="a"),), reply="b", cluster="c")
assert judge.score([item])[0].value == 0.4
assert os.environ.get("SECRET_OF_DOTENV") is None
import atexit
atexit._run_exitfuncs()
assert opened == [], opened
"""


def test_nothing_is_sent_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_OF_DOTENV=1\n")
    path = f"{REPOSITORY}:{REPOSITORY / 'tests'}"
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PYTHONPATH": path, "HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # where a command's JSON stands
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".env", "home"]
