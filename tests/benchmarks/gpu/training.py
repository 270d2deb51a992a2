"""QLoRA steps in a bare loop: supervised and DPO, packed and padded, with and without NEFTune."""

from __future__ import annotations

import contextlib
import importlib
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.machine import Machine, load
from benchmarks.gpu.measuring import Measured, measure
from benchmarks.gpu.shapes import Shape

if TYPE_CHECKING:
    from torch import Tensor

RANK = 16
NEFTUNE = 5.0
DPO_BETA = 0.1
_MEDIAN_TOKENS, _SPREAD = 30.0, 0.7  # of an exchange with chat tokens: log-normal, mean 38 as Cornell's one-turn pairs


def lengths(n_tokens: int, *, seed: int = 0) -> list[int]:
    """Lengths of exchanges that fill a row of so many tokens exactly."""
    rng = random.Random(seed)
    found: list[int] = []
    while (room := n_tokens - sum(found)) > 0:
        found.append(min(room, max(4, round(rng.lognormvariate(math.log(_MEDIAN_TOKENS), _SPREAD)))))
    return found


def trainable(machine: Machine, folder: Path, *, attention: str) -> Any:
    """A base with a fresh adapter on every linear layer, its activations recomputed in the backward pass."""
    from peft import LoraConfig, get_peft_model

    model = load(machine, folder, attention=attention, in_4_bit=True)
    model.requires_grad_(False)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted: Any = get_peft_model(model, lora)
    return adapted.train()


def optimizer_of(machine: Machine, model: Any) -> Any:
    """Paged 8-bit AdamW where bitsandbytes and CUDA are, else AdamW."""
    import torch

    weights = [p for p in model.parameters() if p.requires_grad]
    if machine.device == "cuda" and machine.has("bitsandbytes"):
        optimizers: Any = importlib.import_module("bitsandbytes.optim")
        return optimizers.PagedAdamW8bit(weights, lr=1e-4)
    return torch.optim.AdamW(weights, lr=1e-4)


def mixed(machine: Machine) -> Any:
    """bfloat16 where the device is fast in it; the adapter's weights stay float32."""
    import torch

    return torch.autocast("cuda", dtype=torch.bfloat16) if machine.device == "cuda" else contextlib.nullcontext()


@contextlib.contextmanager
def neftune(model: Any, *, is_on: bool) -> Iterator[None]:
    """Uniform noise on the embeddings, half-width α / √(L·d) (arXiv 2310.05914)."""
    import torch

    if not is_on:
        yield
        return

    def add_noise(module: Any, args: Any, embedded: Tensor) -> Tensor:
        bound = NEFTUNE / math.sqrt(embedded.shape[1] * embedded.shape[2])
        return embedded + torch.empty_like(embedded).uniform_(-bound, bound)

    hook = model.get_input_embeddings().register_forward_hook(add_noise)
    try:
        yield
    finally:
        hook.remove()


def packed_rows(shape: Shape, machine: Machine, *, is_variable_length: bool) -> dict[str, Any]:
    """One row of exchanges end to end; positions restart, and there is no mask, so none sees another."""
    import torch

    sizes = lengths(shape.row_tokens)
    position_ids = torch.cat([torch.arange(size) for size in sizes])[None].to(machine.device)
    inputs: dict[str, Any] = {"input_ids": _tokens(shape, machine, (1, sum(sizes))), "position_ids": position_ids}
    if is_variable_length:
        ends = torch.tensor([0, *sizes]).cumsum(0).to(machine.device, torch.int32)
        inputs.update(cu_seq_lens_q=ends, cu_seq_lens_k=ends, max_length_q=max(sizes), max_length_k=max(sizes))
    return inputs


def padded_rows(shape: Shape, machine: Machine) -> dict[str, Any]:
    """The same exchanges, each a row, padded to the longest of them."""
    import torch

    sizes = lengths(shape.row_tokens)
    mask = torch.tensor([[1] * size + [0] * (max(sizes) - size) for size in sizes]).to(machine.device)
    return {"input_ids": _tokens(shape, machine, (len(sizes), max(sizes))), "attention_mask": mask}


def sft(
    machine: Machine, shape: Shape, folder: Path, *, case: str, attention: str, is_packed: bool, has_noise: bool
) -> Measured:
    """Useful tokens a second of one row per optimiser step."""
    from torch.nn.functional import cross_entropy

    model = trainable(machine, folder, attention=attention)
    optimizer = optimizer_of(machine, model)
    if is_packed:
        inputs = packed_rows(shape, machine, is_variable_length=attention == "flash_attention_2")
        kept = None
    else:
        inputs = padded_rows(shape, machine)
        kept = inputs["attention_mask"][:, 1:].bool()

    def step() -> int:
        with mixed(machine):
            logits = model(**inputs, use_cache=False).logits[:, :-1].float()
        targets = inputs["input_ids"][:, 1:]
        if kept is not None:
            targets = targets.masked_fill(~kept, -100)
        loss: Any = cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return shape.row_tokens

    with neftune(model, is_on=has_noise):
        return measure(shape.name, case, unit="tokens", step=step, device=machine.device)


def dpo(machine: Machine, shape: Shape, folder: Path, *, attention: str) -> Measured:
    """Tokens a second of DPO (arXiv 2305.18290) on one pair of rows per step; the reference is a frozen adapter."""
    import torch
    from torch.nn.functional import logsigmoid

    model = trainable(machine, folder, attention=attention)
    model.add_adapter("reference", model.peft_config["default"])
    model.set_adapter("default")
    optimizer = optimizer_of(machine, model)
    ids = _tokens(shape, machine, (2, shape.row_tokens))  # chosen, rejected
    n_reply = shape.row_tokens // 2  # the rest is the prompt

    def reply_logprobs() -> Tensor:
        with mixed(machine):
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=n_reply + 1).logits[:, :-1].float()
        picked: Tensor = logits.log_softmax(dim=-1).gather(-1, ids[:, -n_reply:, None])[..., 0]
        return picked.sum(dim=-1)

    def step() -> int:
        model.set_adapter("reference")
        with torch.no_grad():
            reference = reply_logprobs()
        model.set_adapter("default")
        ratio = reply_logprobs() - reference
        loss: Any = -logsigmoid(DPO_BETA * (ratio[0] - ratio[1]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return ids.numel()

    return measure(shape.name, "DPO", unit="tokens", step=step, device=machine.device)


def _tokens(shape: Shape, machine: Machine, size: tuple[int, ...]) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, shape.vocabulary, size, generator=generator).to(machine.device)
