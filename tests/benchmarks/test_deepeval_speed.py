"""Exact G-Eval against deepeval's GEval on the same model and the same items, as a ratio measured in one run.

`pytest tests/benchmarks/test_deepeval_speed.py -s` prints items per second of each and for how many it has a score.
Both judge coherence with the same steps; deepeval writes a JSON object per item, exact mode reads five tokens.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from harness.judging import build_judge, load_judge_spec
from harness.judging.controls import reviewed_contradictions
from harness.judging.judge_protocol import Judge
from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.types import JudgedItem

pytestmark = [pytest.mark.model, pytest.mark.slow]

JUDGES = Path(__file__).resolve().parents[2] / "experiments" / "judges"
N_ITEMS = 8
AT_LEAST = 5.0


def items() -> list[JudgedItem]:
    return [
        JudgedItem(id=c.id, messages=c.messages, reply=c.true_reply, cluster=c.cluster, criteria=("coherence",))
        for c in reviewed_contradictions()[:N_ITEMS]
    ]


def measured(judge: Judge) -> tuple[float, float, str]:
    """Items per second, the share of them with a score, and how each ended."""
    began = time.perf_counter()
    scores = judge.score(items())
    seconds = time.perf_counter() - began
    ended = ", ".join(f"{s.status} {s.value:.2f}" if s.value is not None else s.status for s in scores)
    return len(scores) / seconds, sum(s.value is not None for s in scores) / len(scores), ended


@pytest.mark.skipif(importlib.util.find_spec("deepeval") is None, reason="needs the extra `deepeval`")
def test_exact_mode_is_five_times_as_fast_as_deepeval_on_the_same_model() -> None:
    model = LocalModel.load(resolve_base("embedded"), dtype="float32", device="cpu")
    exact = build_judge(load_judge_spec(JUDGES / "embedded-geval"), model=model)
    theirs = build_judge(load_judge_spec(JUDGES / "embedded-deepeval"), model=model)
    exact.score(items()[:1])  # the first call of a process pays for imports
    rate, share, _ = measured(exact)
    their_rate, their_share, ended = measured(theirs)
    print(f"\nexact: {rate:.2f} items/s, a score for {share:.0%}")
    print(f"deepeval: {their_rate:.2f} items/s, a score for {their_share:.0%} ({ended})")
    print(f"ratio {rate / their_rate:.1f}")
    assert share == 1.0
    assert rate / their_rate >= AT_LEAST
