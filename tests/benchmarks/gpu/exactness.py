"""Packed rows and trees of replies against each sequence alone, and what attention kernels cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.data import checkpoint, examples
from benchmarks.gpu.machine import has
from benchmarks.gpu.measuring import Job, sync

from harness.types import Example

if TYPE_CHECKING:
    from torch import Tensor

_ADDS_MASKS = ("sdpa", "eager")  # others take no tree: the product runs it with sdpa
_TOKENS = (512, 2048, 4096)


def exact(job: Job) -> None:
    """Every precision and attention that is there; then, on a card, kernels with the heads of the 3B."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    kinds = [(dtype, attention) for dtype in ("float32", "bfloat16") for attention in _ADDS_MASKS]
    if job.device == "cuda":
        kinds += [("bfloat16", "flex_attention"), *([("bfloat16", "flash_attention_2")] if has("flash_attn") else [])]
    for dtype, attention in kinds:
        with job.case(f"exact, {dtype}, {attention}") as figures:
            figures |= _differences(job, dtype, attention)
    if job.device == "cuda":
        for n_tokens in _TOKENS:
            with job.case(f"attention, {n_tokens} tokens, forward and backward") as figures:
                figures |= _masked_kernels(n_tokens)
            with job.case(f"attention, {n_tokens} tokens, forward and backward, variable length") as figures:
                figures |= _variable_length_kernels(n_tokens)


def _differences(job: Job, dtype: str, attention: str) -> dict[str, Any]:
    """Largest differences over a dozen windows, of logits and of log-probabilities in nats a token."""
    import torch
    from transformers import AutoModelForCausalLM

    from pipelines.training.packing import flatten

    model: Any = AutoModelForCausalLM.from_pretrained(
        checkpoint(job), dtype=getattr(torch, dtype), attn_implementation=attention, device_map={"": job.device}
    ).eval()
    table = examples(job)
    windows = [table[row] for row in range(0, 60, 5)]
    flat = flatten(windows)
    told = flat.model_inputs(is_variable_length=attention == "flash_attention_2")
    with torch.no_grad():
        alone = torch.cat([_logits(model, job, input_ids=torch.tensor([w.input_ids])) for w in windows])
        packed = _logits(model, job, **told)
        leaking = _logits(model, job, input_ids=flat.input_ids)
        found = {
            "packed_logits": float((packed - alone).abs().max()),
            "without_isolation": float((leaking - alone).abs().max()),  # what a mistake would look like
            "packed_nats": abs(_nats(packed, flat) - _nats(alone, flat)),
        }
        if attention in _ADDS_MASKS:
            found["tree_nats"] = _tree(model, job, windows)
    return found


def _logits(model: Any, job: Job, **inputs: Any) -> Tensor:
    there = {key: value.to(job.device) if hasattr(value, "to") else value for key, value in inputs.items()}
    logits: Tensor = model(**{"use_cache": False, **there}).logits[0].float()
    return logits


def _nats(logits: Tensor, flat: Any) -> float:
    from torch.nn.functional import cross_entropy

    return float(cross_entropy(logits[flat.loss_positions.to(logits.device)], flat.targets.to(logits.device)))


def _tree(model: Any, job: Job, windows: Sequence[Example]) -> float:
    """Largest difference of a reply in DPO's row from the reply in a row of its own, nats a token."""
    import torch

    from pipelines.training.pair_rows import PairIds, lay_out

    cut = [(w.input_ids[: w.n_prompt_tokens], w.input_ids[w.n_prompt_tokens :]) for w in windows]
    half = len(cut) // 2
    pairs = [
        PairIds(prompt_id=str(i), cluster="", chat=(), prompt=prompt, chosen=chosen, rejected=rejected)
        for i, ((prompt, chosen), (_, rejected)) in enumerate(zip(cut[:half], cut[half:], strict=False))
    ]
    row = lay_out(pairs, ld_alpha=None)
    told = row.model_inputs()
    told["attention_mask"] = told["attention_mask"].to(model.dtype)
    log_probabilities = _logits(model, job, **told).log_softmax(1).cpu()
    of_target = log_probabilities.gather(1, row.targets[:, None])[:, 0]
    tree = torch.zeros(len(row.lengths)).index_add(0, row.sequences, of_target)
    alone = []
    for prompt, reply in [(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs]:
        logits = _logits(model, job, input_ids=torch.tensor([[*prompt, *reply]]))[len(prompt) - 1 : -1].cpu()
        alone.append(logits.log_softmax(1).gather(1, torch.tensor(reply)[:, None]).sum())
    return float(((tree - torch.stack(alone)).abs() / row.lengths).max())


def _heads(n_tokens: int) -> tuple[list[Tensor], Tensor]:
    """Queries, keys and values with the 3B's heads, and which pack each position belongs to."""
    import torch

    heads = [
        torch.randn(1, 16, n_tokens, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    ]
    sizes = torch.tensor([64 + 37 * (i % 4) for i in range(n_tokens // 64)])
    return heads, torch.repeat_interleave(torch.arange(len(sizes)), sizes)[:n_tokens].cuda()


def _masked_kernels(n_tokens: int) -> dict[str, Any]:
    """Milliseconds a layer: packs isolated by a mask, and the plain causal kernel."""
    from torch.nn.functional import scaled_dot_product_attention

    attend: Any = scaled_dot_product_attention
    heads, owner = _heads(n_tokens)
    mask = (owner[:, None] == owner[None]).tril()
    return {
        "block_mask_ms": _milliseconds(lambda: attend(*heads, attn_mask=mask[None, None])),
        "causal_ms": _milliseconds(lambda: attend(*heads, is_causal=True)),
    }


def _variable_length_kernels(n_tokens: int) -> dict[str, Any]:
    """Milliseconds a layer of kernels that take packs without a mask: torch's own, and FlashAttention."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    heads, owner = _heads(n_tokens)
    flat = [head.detach()[0].transpose(0, 1).contiguous().requires_grad_() for head in heads]
    counts = torch.bincount(owner)
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)
    longest = int(counts.max())
    attend: Any = varlen_attn
    found = {
        "torch_ms": _milliseconds(lambda: attend(*flat, ends, ends, longest, longest, window_size=(-1, 0))),
    }
    if has("flash_attn"):
        from flash_attn import flash_attn_varlen_func

        found["flash_ms"] = _milliseconds(
            lambda: flash_attn_varlen_func(*flat, ends, ends, longest, longest, causal=True)
        )
    return found


def _milliseconds(make: Callable[[], Any], *, n: int = 30) -> float:
    for turn in range(n + 5):
        if turn == 5:
            sync("cuda")
            began = time.perf_counter()
        made = make()
        made.backward(made.detach())
    sync("cuda")
    return round((time.perf_counter() - began) / n * 1e3, 4)
