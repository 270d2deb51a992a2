"""A tiny prepared corpus, an SFT adapter and pairs: what preference tests start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes import tiny_adapter
from training_data import dpo_settings

from harness.config import parse
from harness.models.bases import resolve_base
from harness.types import Adapter, Message, PreferencePair, Prompt, Split
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.preferences.pair_files import write_pairs
from pipelines.training.recipe import DpoRecipe

SYSTEM = "Reply."


def prepared_sample(folder: Path, base: Path) -> Path:
    """The shipped sample, cut for a tiny base."""
    prepare.run(PrepareConfig(corpus="sample", base=str(base), max_tokens=512, limit=60), folder=folder)
    return folder


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


def recipe(base: Path, **changes: Any) -> DpoRecipe:
    """The recipe of `dpo_settings`."""
    return parse(dpo_settings(base, **changes), DpoRecipe, where="test")
