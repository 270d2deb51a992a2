"""What SFT and DPO are told alike: shipped recipes cut short, and TRL computing what the product computes."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.machine import quantization
from benchmarks.gpu.measuring import Job

PACKS_PER_STEP = 8


def has_capped(job: Job) -> bool:
    """Whether the shape is tried with the memory of a small card: the largest, for which it is close."""
    return job.shape.name in ("3B", "tiny")


def small(recipe: Any, job: Job) -> dict[str, Any]:
    """The changes to any shipped recipe: so few steps that a lent card suffices, no checkpoint, each step logged."""
    return {
        "optimizer": recipe.optimizer.model_copy(
            update={"packs_per_step": 2 if job.is_tiny else PACKS_PER_STEP, "warmup_steps": 1}
        ),
        "quantization": quantization(),
        "checkpoint_steps": 1000,
        "log_steps": 1,
    }


def trl_options(job: Job) -> dict[str, Any]:
    """What TRL is told in SFT and DPO alike, so that it computes what the product computes."""
    is_cuda = job.device == "cuda"
    return {
        "output_dir": str(job.folder / "trl"),
        "bf16": is_cuda,
        "use_cpu": not is_cuda,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "num_train_epochs": 1,
        "warmup_steps": 1,
        "logging_steps": 1,
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "optim": "paged_adamw_8bit" if is_cuda and quantization() == "nf4" else "adamw_torch",
        "seed": 0,
    }
