"""Real windows and pairs with no download: a tokenizer learnt from the sample, and what the product makes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.gpu.measuring import Job
from benchmarks.gpu.shapes import write_checkpoint

from harness.types import Example

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "experiments" / "recipes"
SAMPLE = ROOT / "pipelines" / "corpus" / "sample" / "movie_lines.txt"


def checkpoint(job: Job) -> Path:
    """Where the weights of a job's shape lie; the first part that asks draws them."""
    folder = job.folder / job.shape.name
    if not (folder / "config.json").exists():
        from transformers import AutoTokenizer

        with job.case(f"weights of the {job.shape.name}") as figures:
            began, load = time.perf_counter(), cast("Any", AutoTokenizer.from_pretrained)
            figures["n_parameters"] = write_checkpoint(
                job.shape, folder, tokenizer=load(_tokenizer(job)), device=job.device
            )
            figures["seconds"] = round(time.perf_counter() - began, 1)
    return folder


def _tokenizer(job: Job) -> Path:
    return job.folder / "tokenizer"


def prepared(job: Job) -> Path:
    """Where the windows lie."""
    return job.folder / "prepared"


def pairs_folder(job: Job) -> Path:
    """Where the pairs lie."""
    return job.folder / "pairs"


def lines() -> list[str]:
    """What is said in the sample, in its order."""
    raw = SAMPLE.read_text(encoding="utf-8", errors="replace").splitlines()
    return [said for line in raw if (said := line.rsplit("+++$+++", 1)[-1].strip())]


def examples(job: Job) -> Sequence[Example]:
    """The training windows."""
    from pipelines.corpus.windows import read_examples

    return read_examples(prepared(job), "train")


def make_data(job: Job) -> None:
    """Tokenizer, windows, pairs."""
    from pipelines.training.tokenizer import train_tokenizer

    tokenizer: Any = train_tokenizer(lines(), vocabulary=1000 if job.is_tiny else 16_384, max_tokens=4096)
    tokenizer.save_pretrained(_tokenizer(job))
    with job.case("windows") as figures:
        figures |= _windows(job, tokenizer)
    with job.case("pairs") as figures:
        figures["n_pairs"] = _pairs(job, n=48 if job.is_tiny else 100)


def _windows(job: Job, tokenizer: Any) -> dict[str, Any]:
    from pipelines.corpus.prepare import PrepareConfig, run

    config = PrepareConfig(
        base="random weights", max_tokens=160 if job.is_tiny else 512, limit=120 if job.is_tiny else None
    )
    summary = run(config, folder=prepared(job), tokenizer=tokenizer)
    train = summary.splits["train"].windows
    return {"n_windows": train.n_examples, "n_tokens": train.n_tokens, "n_under_loss": train.n_completion_tokens}


def _pairs(job: Job, *, n: int) -> int:
    """The human reply against that to another prompt; none near a held-out row."""
    from harness.store.prepared import read_prompts, read_summary
    from harness.types import PreferencePair
    from pipelines.preferences.held_out import held_out_prompts, near_held_out
    from pipelines.preferences.pair_files import write_pairs

    asked = [prompt for prompt in read_prompts(prepared(job), "train") if prompt.reference]
    drawn = asked[:: max(1, len(asked) // (2 * n))]
    pairs = [
        PreferencePair(
            prompt=prompt, chosen=prompt.reference, rejected=other.reference, margin=None, preferred_by="import"
        )
        for prompt, other in zip(drawn, drawn[len(drawn) // 2 :] + drawn, strict=False)
        if prompt.reference and other.reference and prompt.reference != other.reference
    ]
    near = {row.row for row in near_held_out(pairs, held_out_prompts(prepared(job)))}
    kept = [pair for row, pair in enumerate(pairs) if row not in near][:n]
    pairs_folder(job).mkdir()
    return write_pairs(pairs_folder(job), kept, system=read_summary(prepared(job)).system)
