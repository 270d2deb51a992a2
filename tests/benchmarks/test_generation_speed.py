"""Generation and scoring over bare transformers, as ratios measured in one run.

`pytest tests/benchmarks/test_generation_speed.py -s` prints them. Generation is compared with `generate` at the same
batch size and decoding, batches sorted by length, useful tokens counted (nothing after an end token). Scoring is
compared with a bare forward pass over the same sequences in padded batches, sorted by length.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.bases import base_folder, resolve_base
from harness.models.chat_templates import chat_messages, render, reply_ids
from harness.models.local import LocalModel
from harness.models.protocol import ContinuationRequest, ReplyRequest
from harness.types import Decoding, Message

pytestmark = [pytest.mark.model, pytest.mark.slow]

SAMPLE = Path(__file__).resolve().parents[2] / "pipelines" / "corpus" / "sample" / "movie_lines.txt"
DECODING = Decoding(max_new_tokens=48)
N_PROMPTS = 48
SCORING_BATCH = 16


@pytest.fixture(scope="module")
def local() -> LocalModel:
    return LocalModel.load(resolve_base("embedded"))


@pytest.fixture(scope="module")
def bare() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base_folder(resolve_base("embedded")), dtype=torch.float32).eval()


def _lines() -> list[str]:
    rows = SAMPLE.read_text(encoding="utf-8").split("\n")
    return [text for row in rows if (text := row.rsplit(" +++$+++ ", 1)[-1].strip())]


def _chats(n: int) -> list[list[dict[str, str]]]:
    """Histories of one to six lines, as the corpus has them."""
    rng, lines = random.Random(0), _lines()
    chats = []
    for _ in range(n):
        length = rng.choice([1, 1, 1, 2, 2, 3, 4, 6])
        start = rng.randrange(len(lines) - length)
        turns = lines[start : start + length]
        roles = ["user" if (length - i) % 2 else "assistant" for i in range(length)]
        chats.append(
            chat_messages([Message(role=r, content=t) for r, t in zip(roles, turns, strict=True)])  # type: ignore[arg-type]
        )
    return chats


def _bare_generation(bare: Any, local: LocalModel, chats: list[list[dict[str, str]]], batch: int) -> float:
    """Useful tokens a second of `generate`."""
    torch.manual_seed(0)
    prompts = sorted((render(local.tokenizer, chat) for chat in chats), key=len)
    n_tokens, began = 0, time.perf_counter()
    for start in range(0, len(prompts), batch):
        rows = prompts[start : start + batch]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(r)) + list(r) for r in rows])
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        out = bare.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=DECODING.max_new_tokens,
            do_sample=True,
            temperature=DECODING.temperature,
            top_p=DECODING.top_p,
            top_k=0,
            eos_token_id=2,
            pad_token_id=0,
        )
        n_tokens += int((out[:, width:] != 0).sum())
    return n_tokens / (time.perf_counter() - began)


@pytest.mark.parametrize("batch", [16, 32])
def test_generation_is_no_slower_than_bare_generate(local: LocalModel, bare: Any, batch: int) -> None:
    chats = _chats(N_PROMPTS)
    bare_rate = _bare_generation(bare, local, chats, batch)
    began = time.perf_counter()
    requests = [ReplyRequest(key=f"p{i}", messages=chat) for i, chat in enumerate(chats)]
    replies = local.generate(requests, decoding=DECODING, batch_size=batch)
    rate = sum(r.n_tokens or 0 for r in replies) / (time.perf_counter() - began)
    print(
        f"\ngeneration, batch {batch}: {rate:.1f} tokens/s, bare generate {bare_rate:.1f}, ratio {rate / bare_rate:.2f}"
    )
    assert rate >= 0.9 * bare_rate


def _bare_forward(bare: Any, sequences: list[tuple[int, ...]]) -> float:
    """Seconds of a bare forward pass over whole sequences, with all logits."""
    ordered = sorted(sequences, key=len)
    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(ordered), SCORING_BATCH):
            rows = ordered[start : start + SCORING_BATCH]
            width = max(map(len, rows))
            bare(
                input_ids=torch.tensor([list(r) + [0] * (width - len(r)) for r in rows]),
                attention_mask=torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows]),
                use_cache=False,
            )
    return time.perf_counter() - began


@pytest.mark.parametrize(("n_contexts", "n_replies"), [(64, 1), (8, 8)])
def test_scoring_is_no_slower_than_a_bare_forward_pass(
    local: LocalModel, bare: Any, n_contexts: int, n_replies: int
) -> None:
    replies = _lines()[: n_contexts * n_replies]
    requests = [
        ContinuationRequest(key=f"{i}", messages=chat, reply=replies[i * n_replies + k])
        for i, chat in enumerate(_chats(n_contexts))
        for k in range(n_replies)
    ]
    sequences = [render(local.tokenizer, r.messages) + reply_ids(local.tokenizer, r.reply) for r in requests]
    n_tokens = sum(map(len, sequences))
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(3):  # interleaved, the best counts: other work on the machine only ever slows
        seconds["bare"].append(_bare_forward(bare, sequences))
        began = time.perf_counter()
        local.continuation_logprobs(requests)
        seconds["ours"].append(time.perf_counter() - began)
    rates = {name: n_tokens / min(times) for name, times in seconds.items()}
    ratio = rates["ours"] / rates["bare"]
    print(
        f"\nscoring, {n_contexts} contexts × {n_replies} replies: {rates['ours']:.0f} tokens/s, "
        f"bare forward {rates['bare']:.0f}, ratio {ratio:.2f}"
    )
    assert ratio >= 0.8
