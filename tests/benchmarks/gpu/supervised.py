"""SFT of a shape: the product's own trainer, TRL's and a bare loop, on the same windows in the same order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.data import RECIPES, checkpoint, examples, prepared
from benchmarks.gpu.machine import quantization
from benchmarks.gpu.measuring import Clock, Job, StepClock, step_callback
from benchmarks.gpu.settings import has_capped, small, trl_options

from harness.types import BaseModel, Example

if TYPE_CHECKING:
    from pipelines.training.packing import Pack
    from pipelines.training.recipe import SftRecipe

PRODUCT, CAPPED, BARE, PADDED, TRL = (
    "SFT, Screentest",
    "SFT, Screentest, 8 GB",
    "SFT, bare loop, packed",
    "SFT, bare loop, padded",
    "SFT, TRL with packing",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sft:
    """What all of them are given."""

    job: Job
    recipe: SftRecipe
    base: BaseModel
    windows: Sequence[Example]
    packs: tuple[Pack, ...]

    @property
    def packs_per_step(self) -> int:
        """Gradient accumulation."""
        return self.recipe.optimizer.packs_per_step

    @property
    def steps(self) -> list[tuple[Pack, ...]]:
        """The packs of each optimiser step."""
        n = self.packs_per_step
        return [self.packs[begin : begin + n] for begin in range(0, len(self.packs), n)]

    @property
    def tokens(self) -> list[int]:
        """Useful tokens of each step."""
        return [sum(pack.n_tokens for pack in step) for step in self.steps]

    def model(self) -> Any:
        """The base as the product loads it, with a fresh adapter."""
        from pipelines.training.modeling import attach_lora, load_base, resolve_runtime

        runtime = resolve_runtime(precision=self.recipe.precision, attention=self.recipe.attention)
        model = load_base(self.base, runtime=runtime, quantization=self.recipe.quantization)
        return attach_lora(model, self.recipe.lora, base=self.base, seed=0)


def sft(job: Job) -> None:
    """Every loop; the product's also with the memory of an 8 GB card."""
    asked = asked_of(job)
    runs: tuple[tuple[str, Callable[[Sft], dict[str, Any]]], ...] = (
        (PRODUCT, _product),
        (BARE, _bare),
        (TRL, _trl),
        (CAPPED, _product),
        (PADDED, _bare_padded),
    )
    for case, run in runs:
        if case == CAPPED and not has_capped(job):
            continue
        with job.case(case, is_capped=case == CAPPED) as figures:
            figures |= {"quantization": asked.recipe.quantization, **run(asked)}


def asked_of(job: Job) -> Sft:
    """What every loop of a shape is given: the shipped recipe on so few tokens that a lent card suffices."""
    from harness.config import load_yaml
    from harness.models.bases import resolve_base
    from pipelines.training.packing import plan_packs
    from pipelines.training.recipe import BaseSettings, SftRecipe

    recipe = load_yaml(RECIPES / "sft" / job.shape.recipe, SftRecipe)
    windows: Any = examples(job)
    changes = small(recipe, job)
    row = max(windows.lengths.tolist()) if job.is_tiny else recipe.data.pack_tokens
    budget = 3 * row * changes["optimizer"].packs_per_step
    data = recipe.data.model_copy(update={"train_tokens": budget, "epochs": None, "pack_tokens": row})
    validation = recipe.validation.model_copy(update={"every_steps": 1000, "max_tokens": 2 * row, "patience": None})
    packs = plan_packs(windows.lengths.tolist(), pack_tokens=row, train_tokens=budget, epochs=None, seed=recipe.seed)
    base = resolve_base(str(checkpoint(job)))
    changes |= {"base": BaseSettings(source=base.source, revision=None), "data": data, "validation": validation}
    return Sft(job=job, recipe=recipe.model_copy(update=changes), base=base, windows=windows, packs=packs)


def _product(asked: Sft) -> dict[str, Any]:
    from pipelines import sft as product

    clock = StepClock(asked.job.device, tokens=asked.tokens)
    folder = asked.job.folder / f"{asked.job.shape.name}-sft"  # where DPO looks for its parent
    summary = product.run(asked.recipe, prepared=prepared(asked.job), folder=folder, on_progress=clock)
    facts = ("attention", "precision", "optimizer", "packs_per_pass", "n_tokens", "n_loss_tokens")
    return clock.rates(asked.tokens) | {name: getattr(summary, name) for name in facts}


def _bare(asked: Sft) -> dict[str, Any]:
    """No trainer, no adapter file, no log: rows packed as the product's, logits of every position."""
    import torch

    from pipelines.training.packing import flatten

    def inputs(pack: Pack) -> tuple[dict[str, Any], Any]:
        flat = flatten([asked.windows[row] for row in pack.rows])
        targets = torch.full_like(flat.input_ids, -100)
        targets[0, flat.loss_positions] = flat.targets
        return flat.model_inputs(is_variable_length=_has_flash(asked)), targets

    return _loop(asked, inputs)


def _bare_padded(asked: Sft) -> dict[str, Any]:
    """As `_bare`, each window a row of its own, padded to the longest of its pack."""
    import torch

    def inputs(pack: Pack) -> tuple[dict[str, Any], Any]:
        rows = [asked.windows[row] for row in pack.rows]
        width = max(len(row.input_ids) for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        seen, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
        for place, row in enumerate(rows):
            own, n = torch.tensor(row.input_ids), len(row.input_ids)
            ids[place, :n], seen[place, :n] = own, 1
            targets[place, row.n_prompt_tokens - 1 : n - 1] = own[row.n_prompt_tokens :]
        return {"input_ids": ids, "attention_mask": seen, "use_cache": False}, targets

    return _loop(asked, inputs)


def _loop(asked: Sft, inputs: Callable[[Pack], tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    import torch
    from torch.nn.functional import cross_entropy

    device, model = asked.job.device, asked.model().train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer, clock = _optimizer(weights, device), Clock(device)
    clock.tick()
    for step in asked.steps:
        for pack in step:
            told, targets = inputs(pack)
            there = {key: value.to(device) if hasattr(value, "to") else value for key, value in told.items()}
            with torch.autocast("cuda", dtype=torch.bfloat16) if device == "cuda" else contextlib.nullcontext():
                logits = model(**there).logits.float().flatten(0, 1)
            loss: Any = cross_entropy(logits, targets.to(device).flatten(), ignore_index=-100) / len(step)
            del logits
            loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    return clock.rates(asked.tokens)


def _optimizer(weights: list[Any], device: str) -> Any:
    import torch

    if device == "cuda" and quantization() == "nf4":
        from bitsandbytes.optim import PagedAdamW8bit

        return PagedAdamW8bit(weights, lr=2e-4)
    return torch.optim.AdamW(weights, lr=2e-4)


def _has_flash(asked: Sft) -> bool:
    from pipelines.training.modeling import resolve_runtime

    return resolve_runtime(precision=asked.recipe.precision, attention=asked.recipe.attention).is_variable_length


def _trl(asked: Sft) -> dict[str, Any]:
    """TRL's own trainer and packing; its steps are counted as equally long."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from harness.models.bases import load_tokenizer

    class Silent(SFTTrainer):
        def _send_telemetry(self) -> None:
            """Nothing leaves the machine."""

    rows = [asked.windows[row] for pack in asked.packs for row in pack.rows]
    masks = [[0] * r.n_prompt_tokens + [1] * (len(r.input_ids) - r.n_prompt_tokens) for r in rows]
    data = Dataset.from_dict({"input_ids": [list(r.input_ids) for r in rows], "completion_mask": masks})
    settings = SFTConfig(
        **trl_options(asked.job),
        packing=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=asked.packs_per_step,
        max_length=asked.recipe.data.pack_tokens,
        learning_rate=2e-4,
        neftune_noise_alpha=asked.recipe.neftune_alpha,
    )
    clock = Clock(asked.job.device)
    trainer = Silent(
        asked.model(), args=settings, train_dataset=data, processing_class=load_tokenizer(asked.base),
        callbacks=[step_callback(clock)],
    )  # fmt: skip
    trainer.train()
    n_steps = len(clock.moments) - 1
    return clock.rates([sum(asked.tokens) // n_steps] * n_steps)
