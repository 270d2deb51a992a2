"""Replies and judgements of the product beside transformers' batched `generate`, and whether batches change replies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.data import checkpoint, lines
from benchmarks.gpu.measuring import Job, sync

ROWS = (64, 256, 16, 1)  # the target's first
TARGET_ROWS = 64
_SYSTEM = "Continue the film dialogue with the next line only."


def case_of(n: int, *, is_ours: bool) -> str:
    """The name of a case of generation."""
    return f"generation, {n} rows, {'Screentest' if is_ours else 'transformers'}"


def infer(job: Job) -> None:
    """Generation at three sizes, judging, agreement."""
    from harness.models.bases import resolve_base
    from harness.models.local import LocalModel

    local = LocalModel.load(resolve_base(str(checkpoint(job))))
    n_new = 8 if job.is_tiny else 64
    for n in ROWS:
        with job.case(case_of(n, is_ours=True)) as figures:
            figures |= _ours(job, local, n, n_new)
        with job.case(case_of(n, is_ours=False)) as figures:
            figures |= _theirs(job, local, n, n_new)
    with job.case("exact judge") as figures:
        figures |= _judge(job, local)
    with job.case("greedy replies, alone and in a batch") as figures:
        figures |= _agreement(local, n_new)


def _chats(n: int) -> list[list[dict[str, str]]]:
    return [[{"role": "system", "content": _SYSTEM}, {"role": "user", "content": said}] for said in lines()[:n]]


def requests(n: int) -> list[Any]:
    """As many prompts of the sample, each a line to answer."""
    from harness.models.protocol import ReplyRequest

    return [ReplyRequest(key=str(place), messages=chat) for place, chat in enumerate(_chats(n))]


def _best(job: Job, run: Callable[[], int]) -> float:
    """Units a second of the better of two runs: the first one warms up."""
    rates = []
    for _ in range(2):
        sync(job.device)
        began = time.perf_counter()
        n_units = run()
        sync(job.device)
        rates.append(n_units / (time.perf_counter() - began))
    return round(max(rates), 1)


def _ours(job: Job, local: Any, n: int, n_new: int) -> dict[str, Any]:
    from harness.types import Decoding

    # Drawn from the whole vocabulary, as beside it: of random weights a nucleus would hold most of it.
    decoding = Decoding(max_new_tokens=n_new, temperature=1.0, top_p=1.0, seed=1)

    def run() -> int:
        replies = local.generate(requests(n), decoding=decoding)
        return sum(reply.n_tokens for reply in replies)

    return {"new_tokens_per_s": _best(job, run)}


def _theirs(job: Job, local: Any, n: int, n_new: int) -> dict[str, Any]:
    """One padded batch, each row to its full length, drawn from the whole vocabulary."""
    import torch

    from harness.models.chat_templates import render

    tokenizer, model = local.tokenizer, local.bank._bare
    rows = [render(tokenizer, chat) for chat in _chats(n)]
    width = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + list(row) for row in rows], device=job.device)
    seen = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=job.device)

    def run() -> int:
        with torch.inference_mode():
            made = model.generate(
                ids, attention_mask=seen, max_new_tokens=n_new, min_new_tokens=n_new, do_sample=True, top_k=0,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        return int(made[:, width:].numel())

    return {"new_tokens_per_s": _best(job, run)}


def _judge(job: Job, local: Any) -> dict[str, Any]:
    from harness.models.protocol import OptionRequest

    asked = [
        OptionRequest(
            key=f"{place}, {trait}", prefix="", options=tuple("12345"),
            messages=[*chat[:-1], {"role": "user", "content": f"{chat[-1]['content']}\nRate its {trait} from 1 to 5."}],
        )
        for place, chat in enumerate(_chats(16 if job.is_tiny else 256))
        for trait in ("coherence", "fluency")
    ]  # fmt: skip

    def run() -> int:
        return len(local.option_probabilities(asked))

    return {"prompts_per_s": _best(job, run)}


def _agreement(local: Any, n_new: int) -> dict[str, Any]:
    """Random weights have many near ties: a lower bound of what trained ones give."""
    from harness.types import Decoding

    asked, decoding = requests(16), Decoding(max_new_tokens=n_new, temperature=0.0, seed=1)
    batch = [reply.text for reply in local.generate(asked, decoding=decoding)]
    again = [reply.text for reply in local.generate(asked, decoding=decoding)]
    agreement = local.agreement_rate(asked, batch, decoding=decoding, n=16)
    same = sum(a == b for a, b in zip(batch, again, strict=True))
    return {"of": agreement.n, "alone_equals_batch": agreement.n_same, "batch_repeats": same}
