"""Judges on the embedded model over bare forward passes, as ratios measured in one run.

`pytest tests/benchmarks/test_judge_speed.py -s` prints, for the likelihood judge, the speed over the same tokens read
whole (the judge reads shared beginnings once) and per token that really goes through the model (what reading, packing
and sorting cost); for form-filling on four criteria, the speed over every prompt read whole.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.judging import build_judge, judged_items, load_judge_spec
from harness.judging.controls import reviewed_contradictions
from harness.judging.methods.geval import GEvalJudge
from harness.judging.methods.likelihood import NO_HISTORY
from harness.models.bases import base_folder, resolve_base
from harness.models.chat_templates import chat_messages, render, reply_ids
from harness.models.local import LocalModel
from harness.types import Generation, JudgedItem, Prompt

pytestmark = [pytest.mark.model, pytest.mark.slow]

JUDGES = Path(__file__).resolve().parents[2] / "experiments" / "judges"
N_PROMPTS = 12
N_FORMS = 4  # of the prompts, for form-filling on four criteria
ROUNDS = 2  # interleaved; the best of each counts, since other work on the machine only ever slows
BATCH = 16
AT_LEAST = 0.8
FOUR_CRITERIA_AT_LEAST = 2.5
SAME_SCORE = 1e-4


def evaluation_items() -> list[JudgedItem]:
    """Three replies to every prompt, as an evaluation of three variants has."""
    items = reviewed_contradictions()[:N_PROMPTS]
    prompts = [Prompt(id=c.id, messages=c.messages, split="validation", cluster=c.cluster) for c in items]
    replies = [(c.true_reply, c.control_reply, f"{c.control_reply} {c.true_reply}") for c in items]
    return judged_items(
        prompts,
        [
            Generation(
                prompt_id=prompt.id,
                variant=f"variant {i}",
                draw=0,
                text=text,
                seed=0,
                n_tokens=None,
                finish_reason="stop",
                cluster=prompt.cluster,
            )
            for prompt, texts in zip(prompts, replies, strict=True)
            for i, text in enumerate(texts)
        ],
    )


def sequences(model: LocalModel, items: Sequence[JudgedItem]) -> list[tuple[int, ...]]:
    """Token ids of both passes over every item, each read whole, shortest first."""
    ids = [
        render(model.tokenizer, chat_messages(history)) + reply_ids(model.tokenizer, item.reply)
        for item in items
        for history in (item.messages, NO_HISTORY)
    ]
    return sorted(ids, key=len)


def bare(weights: Any, ids: Sequence[Sequence[int]], *, batch: int = BATCH) -> float:
    """Real tokens per second of plain forward passes over batches of similar length."""
    import torch

    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(ids), batch):
            rows = ids[start : start + batch]
            width = max(map(len, rows))
            inputs = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
            weights(input_ids=inputs, attention_mask=mask, use_cache=False)
    return sum(map(len, ids)) / (time.perf_counter() - began)


def test_the_likelihood_judge_keeps_up_with_a_bare_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = resolve_base("embedded")
    model = LocalModel.load(base, dtype="float32", device="cpu")
    weights: Any = AutoModelForCausalLM.from_pretrained(base_folder(base), dtype=torch.float32)
    judge = build_judge(load_judge_spec(JUDGES / "embedded-likelihood"), model=model)
    items = evaluation_items()
    ids = sequences(model, items)
    n_nodes: list[int] = []
    forward = model.bank.forward

    def counted(*args: Any, input_ids: Any, **options: Any) -> Any:
        n_nodes[-1] += input_ids.numel()
        return forward(*args, input_ids=input_ids, **options)

    monkeypatch.setattr(model.bank, "forward", counted)
    whole, dense, seconds = [], [], []
    for _ in range(ROUNDS):
        whole.append(bare(weights, ids))
        dense.append(bare(weights, [list(range(1000, 1384))] * 2, batch=1))
        n_nodes.append(0)
        began = time.perf_counter()
        judge.score(items)
        seconds.append(time.perf_counter() - began)
    n_tokens = sum(map(len, ids))
    read, through = n_tokens / min(seconds), n_nodes[-1] / min(seconds)
    for name, plain, ours in (("same tokens", max(whole), read), ("one long row", max(dense), through)):
        print(f"\nbare, {name}: {plain:.0f} tokens/s; judge {ours:.0f}; ratio {ours / plain:.2f}", end="")
    print(f"\n{n_tokens} tokens read, {n_nodes[-1]} through the model, {len(items)} replies")
    assert read / max(whole) >= AT_LEAST


def test_four_criteria_with_shared_beginnings_against_every_prompt_read_whole() -> None:
    model = LocalModel.load(resolve_base("embedded"), dtype="float32", device="cpu")
    judge = build_judge(load_judge_spec(JUDGES / "embedded-geval"), model=model)
    assert isinstance(judge, GEvalJudge)
    items = evaluation_items()[: 3 * N_FORMS]
    questions = judge.questions(items)
    judge.score(items[:1])
    began = time.perf_counter()
    scores = judge.score(items)
    shared = time.perf_counter() - began
    began = time.perf_counter()
    whole = [model.option_probabilities([question])[0] for question in questions]  # one alone shares nothing
    seconds = time.perf_counter() - began
    ratio = seconds / shared
    furthest = max(
        abs(a - b)
        for score, answer in zip(scores, whole, strict=True)
        for a, b in zip(score.probabilities or (), answer.probabilities, strict=True)
    )
    print(
        f"\n{len(scores)} scores: whole {len(scores) / seconds:.1f}/s, shared {len(scores) / shared:.1f}/s, "
        f"ratio {ratio:.2f}; probabilities differ by {furthest:.1e} at most"
    )
    assert 5 * furthest < SAME_SCORE  # a score is a mean over 1 to 5
    assert ratio >= FOUR_CRITERIA_AT_LEAST
