"""The pairwise judge through an endpoint: its letters read by the same readers as scores, and never made up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError, JudgeError
from harness.judging import build_judge, load_judge_spec
from harness.judging.methods.pairwise import PairwiseJudge
from harness.judging.remote_reading import parse_draws, parse_logprobs
from harness.models.endpoint.calls import ChatResult
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.types import JudgedItem, Message

JUDGES = Path(__file__).resolve().parents[3] / "experiments" / "judges"
SPEC = load_judge_spec(JUDGES / "gpt-4o-mini-pairwise")
PAIR = JudgedItem(
    id="p",
    messages=(Message(role="user", content="Where is the boat?"),),
    reply="It sank.",
    opponent="Bees.",
    cluster="film",
    criteria=("coherence",),
)


def judge(url: str, **options: Any) -> PairwiseJudge:
    settings = {"timeout_s": 5.0, "max_retries": 2} | options
    built = build_judge(SPEC, queue=RequestQueue(ChatClient(url=url, model="m", **settings), purpose="test"))
    assert isinstance(built, PairwiseJudge)
    return built


def token(text: str, p: float) -> dict[str, Any]:
    return {"token": text, "logprob": math.log(p)}


def said(text: str, positions: list[list[tuple[str, float]]]) -> ChatResult:
    content = [{**token(*tops[0]), "top_logprobs": [token(*t) for t in tops]} for tops in positions]
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}, "logprobs": {"content": content}}
    return ChatResult(answer={"choices": [choice]})


def test_letters_are_read_at_the_first_position_or_after_the_repeated_prefix() -> None:
    question = judge("http://127.0.0.1:9").questions([PAIR])[0]
    tops = [("A", 0.6), (" B", 0.2), ("B", 0.1), ("The", 0.05)]
    prefixed = [[("Verdict", 0.99)], [(":", 0.99)], [("\n", 0.99)], tops]
    for result in (said("A", [tops]), said("Verdict:\nA", prefixed)):
        answer = parse_logprobs(result, question).answer
        assert answer is not None
        assert answer.mass == pytest.approx(0.9)
        assert answer.probabilities == pytest.approx((0.6 / 0.9, 0.3 / 0.9, 0.0))
    drawn = [said(text, []) for text in ("A", "Verdict:\nA", "B", "A is better", "c", "AB")]
    answer = parse_draws(drawn, question).answer
    assert answer is not None
    assert (answer.mass, *answer.probabilities) == pytest.approx((0.5, 2 / 3, 1 / 3, 0.0))


def test_a_pairwise_judge_needs_its_queue_and_an_opponent() -> None:
    with pytest.raises(JudgeError, match="got no request queue"):
        build_judge(SPEC)
    with pytest.raises(ConfigError, match="compares two replies and scores none"):
        judge("http://127.0.0.1:9").score([replace(PAIR, opponent=None)])
