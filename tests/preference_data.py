"""A tiny prepared corpus, an SFT adapter and pairs: what preference tests start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes import tiny_adapter, tiny_checkpoint

from harness.config import parse
from harness.models.bases import resolve_base
from harness.types import Adapter, Message, PreferencePair, Prompt, Split
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.preferences.files import write_pairs
from pipelines.training.dpo_recipe import DpoRecipe

SYSTEM = "Reply."


def prepared_sample(folder: Path, base: Path) -> Path:
    """The shipped sample, cut for a tiny base."""
    prepare.run(PrepareConfig(corpus="sample", base=str(base), max_tokens=512, limit=60), folder=folder)
    return folder


def tiny_base(folder: Path) -> Path:
    """A checkpoint of two layers."""
    return tiny_checkpoint(folder)


def parent_of(folder: Path, base: Path, *, seed: int = 0) -> Adapter:
    """An SFT adapter with weights that are not zero."""
    return tiny_adapter(folder, resolve_base(str(base)), name="tiny-sft", seed=seed)


def pair(row: int, *, chosen: str | None = None, rejected: str | None = None, **changes: Any) -> PreferencePair:
    """Chosen replies count upwards, rejected ones repeat: something that a tiny model can tell apart."""
    said: dict[str, Any] = {
        "prompt": Prompt(
            id=f"p{row}",
            messages=(Message(role="user", content=f"Line number {row}?"),),
            split="train",
            cluster=f"m{row % 6}",
            reference=f"Yes, {row}.",
        ),
        "chosen": f"abcdefg {row}" if chosen is None else chosen,
        "rejected": f"zz zz{' zz' * (row % 3)}" if rejected is None else rejected,
        "margin": 0.5 + row,
        "preferred_by": "judge@00000000",
    }
    return PreferencePair(**(said | changes))


def pairs_folder(folder: Path, pairs: Sequence[PreferencePair] | None = None) -> Path:
    """Pairs as the stage writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pairs(folder, pairs or [pair(row) for row in range(30)], system=SYSTEM)
    return folder


def prompt(name: str, *, split: Split, asked: str, reply: str, cluster: str = "m0") -> Prompt:
    """One prompt with its human reply."""
    return Prompt(
        id=name, messages=(Message(role="user", content=asked),), split=split, cluster=cluster, reference=reply
    )


def settings(base: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for a tiny model as plain data; `changes` name leaves as `section__key`."""
    data: dict[str, Any] = {
        "name": "tiny-dpo",
        "base": {"source": str(base), "revision": None},
        "parent": "tiny-sft@candidate",
        "quantization": "none",
        "precision": "auto",
        "attention": "auto",
        "data": {"n_pairs": 20, "epochs": 2, "pairs_per_pack": 2, "max_tokens": 200},
        "optimizer": {
            "name": "adamw",
            "learning_rate": 5e-3,
            "schedule": "cosine",
            "warmup_steps": 1,
            "packs_per_step": 2,
            "weight_decay": 0.01,
            "max_grad_norm": 1.0,
        },
        "loss": {"type": "sigmoid", "beta": 0.1, "label_smoothing": 0.0, "ld_alpha": None},
        "gradient_checkpointing": False,
        "validation": {"every_steps": 4, "n_pairs": 5, "n_replies": 2, "max_new_tokens": 8, "keep": "last"},
        "checkpoint_steps": 2,
        "log_steps": 1,
        "seed": 0,
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            data[section] = {**data[section], key: value}
        else:
            data[section] = value
    return data


def recipe(base: Path, **changes: Any) -> DpoRecipe:
    """The recipe of `settings`."""
    return parse(settings(base, **changes), DpoRecipe, where="test")
