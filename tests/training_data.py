"""Windows for a tiny model, and its recipes as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stories import changed

from harness.store.artifacts import write_parquet
from harness.types import Example, Split
from pipelines.corpus.windows import examples_file

if TYPE_CHECKING:
    import torch


def counting(row: int, *, split: Split, length: int | None = None) -> Example:
    """Tokens that count upwards: something that a tiny model can learn."""
    length = length or 12 + (row * 7) % 40
    n_prompt = 3 + row % 5
    return Example(
        prompt_id=f"{split}-{row}",
        cluster=f"m{row % 5}",
        split=split,
        input_ids=tuple(10 + (row * 13 + i) % 200 for i in range(length)),
        n_prompt_tokens=n_prompt,
        n_completion_bytes=length - n_prompt - 1,
    )


def windows_folder(
    folder: Path, train: Sequence[Example] | None = None, validation: Sequence[Example] | None = None
) -> Path:
    """Windows as `prepare` writes them."""
    given: dict[Split, Sequence[Example]] = {
        "train": train or [counting(row, split="train") for row in range(40)],
        "validation": validation or [counting(row, split="validation") for row in range(100, 110)],
    }
    for split, examples in given.items():
        path = examples_file(folder, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, examples, Example)
    return folder


def sft_settings(base: Path, **changes: Any) -> dict[str, Any]:
    """Dropout and NEFTune are on."""
    own = {
        "lora": {"rank": 4, "scale": 8, "dropout": 0.1, "targets": "all-linear", "dora": False},
        "data": {"train_tokens": 1500, "epochs": None, "pack_tokens": 128},
        "neftune_alpha": 5.0,
        "validation": {"every_steps": 2, "max_tokens": 400, "patience": None},
    }
    return changed(_shared("tiny-sft", base, learning_rate=1e-2, warmup_steps=2) | own, **changes)


def dpo_settings(base: Path, **changes: Any) -> dict[str, Any]:
    """On an adapter that tests make, and pairs that a tiny model can tell apart."""
    own = {
        "parent": "tiny-sft@candidate",
        "data": {"n_pairs": 20, "epochs": 2, "pairs_per_pack": 2, "max_tokens": 200},
        "loss": {"type": "sigmoid", "beta": 0.1, "label_smoothing": 0.0, "ld_alpha": None},
        "validation": {"every_steps": 4, "n_pairs": 5, "n_replies": 2, "max_new_tokens": 8, "keep": "last"},
    }
    return changed(_shared("tiny-dpo", base, learning_rate=5e-3, warmup_steps=1) | own, **changes)


def _shared(name: str, base: Path, *, learning_rate: float, warmup_steps: int) -> dict[str, Any]:
    return {
        "name": name,
        "base": {"source": str(base), "revision": None},
        "quantization": "none",
        "precision": "auto",
        "attention": "auto",
        "optimizer": {
            "name": "adamw",
            "learning_rate": learning_rate,
            "schedule": "cosine",
            "warmup_steps": warmup_steps,
            "packs_per_step": 2,
            "weight_decay": 0.01,
            "max_grad_norm": 1.0,
        },
        "gradient_checkpointing": False,
        "checkpoint_steps": 2,
        "log_steps": 1,
        "seed": 0,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the adapter that a training has left."""
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def largest_difference(left: Path, right: Path) -> float:
    """Between the weights of two trainings."""
    one, two = weights(left), weights(right)
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)
