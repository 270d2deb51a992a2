"""The pairwise judge and the deepeval bridge on the embedded model: single tokens, both orders, exact probabilities."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from harness.judging import load_judge_spec
from harness.judging.controls import reviewed_contradictions
from harness.judging.judge_builder import build_judge
from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.types import JudgedItem

pytestmark = [pytest.mark.model, pytest.mark.slow]

JUDGES = Path(__file__).resolve().parents[2] / "experiments" / "judges"


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(resolve_base("embedded"), dtype="float32", device="cpu")


def test_every_pair_has_a_verdict_in_each_order_and_the_same_again(model: LocalModel) -> None:
    judge = build_judge(load_judge_spec(JUDGES / "embedded-pairwise"), model=model)
    pairs = [
        JudgedItem(
            id=c.id,
            messages=c.messages,
            reply=c.true_reply,
            opponent=c.control_reply,
            cluster=c.cluster,
            criteria=("coherence",),
        )
        for c in reviewed_contradictions()[:2]
    ]
    verdicts = judge.score(pairs)
    assert [(v.item_id, v.shown_first) for v in verdicts] == [(p.id, at) for p in pairs for at in ("first", "second")]
    for verdict in verdicts:
        assert verdict.status == "ok"
        assert verdict.mass is not None
        assert verdict.mass > 0.2
        assert verdict.probabilities is not None
        assert math.fsum(verdict.probabilities) == pytest.approx(1.0)
    again = judge.score(pairs[:1])
    assert [v.preferred for v in again] == [v.preferred for v in verdicts[:2]]
    assert again[0].probabilities == pytest.approx(verdicts[0].probabilities, abs=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("deepeval") is None, reason="needs the extra `deepeval`")
def test_the_bridge_reads_exact_probabilities_where_the_model_writes_a_digit(model: LocalModel) -> None:
    from harness.judging.deepeval import bridge_model

    prompt = 'Answer with exactly this JSON and nothing else: {"reason": "short", "score": 4}'
    bridged = bridge_model(model, max_new_tokens=24)
    completion, _ = bridged.generate_raw_response(prompt)
    assert bridged.last is not None
    content = completion.choices[0].logprobs.content if completion.choices[0].logprobs else []
    assert bool(content) == (bridged.last.digits is not None)
    for token in content:
        # Written greedily, so no other digit is likelier than the one that was written.
        assert token.top_logprobs[0].token == token.token
        assert math.fsum(math.exp(t.logprob) for t in token.top_logprobs) <= 1.0 + 1e-6
