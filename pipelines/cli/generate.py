"""`screentest generate`: one variant's replies to held-out prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.terminal import say
from pipelines.cli import options
from pipelines.cli.presenter import Result, presented
from pipelines.cli.session import checks, open_session, say_spent

N_SHOWN = 10


@presented
def generate(
    variant: Annotated[
        str, typer.Argument(help="`base`, a hub id, a folder, `name@alias`, `name/version`, or http://host/v1#model.")
    ],
    out: Annotated[Path | None, typer.Option(help="Also write the replies here, as JSONL.")] = None,
    corpus: options.Corpus = "sample",
    data: Annotated[Path | None, typer.Option(help="Instead of a corpus: a JSONL of test prompts.")] = None,
    prompts: Annotated[int, typer.Option(help="How many, drawn evenly over clusters.", min=1)] = 60,
    shots: Annotated[int, typer.Option(help="Few-shot exchanges from TRAIN put before every prompt.", min=0)] = 0,
    max_new_tokens: options.Cap = 64,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0)] = 0.8,
    top_p: options.TopP = 0.95,
    keep_thinking: options.KeepThinking = False,
    seed: options.Seed = 7,
    limit: options.Limit = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Generate replies to TEST prompts. Killed at any moment, the same command goes on where it was.

    The JSONL can be a variant elsewhere: `screentest compare base replies.jsonl --corpus sample`.
    """
    from harness.experiment.design import DataDesign, DecodingDesign
    from harness.experiment.generate import Asked, look, recorded, run
    from harness.experiment.measured_arms import GENERATIONS
    from harness.store.artifacts import read_parquet, write_jsonl
    from harness.types import Generation

    source = DataDesign(corpus=corpus, prompts=prompts) if data is None else DataDesign(file=str(data), prompts=prompts)
    decoding = DecodingDesign(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, keep_thinking=keep_thinking
    )
    session = open_session(force=force, budget_usd=budget_usd)
    asked = Asked(variant=variant, data=source, decoding=decoding, seed=seed, shots=shots, limit=limit)
    if dry_run:
        return checks(look(session, asked))
    result = run(session, asked)
    generations = read_parquet(result.folder / GENERATIONS, Generation)
    if out is not None:
        write_jsonl(out, [recorded(generation) for generation in generations])
    n_cut = sum(g.finish_reason == "length" for g in generations)
    say_spent(session)
    say(f"{len(generations)} replies, {n_cut} cut off{f', in {out}' if out else ''}")
    return Result(
        data={"run_id": result.run_id, "reused": result.reused, "replies": len(generations), "cut_off": n_cut},
        shown=[] if out else [f"{g.prompt_id}\t{g.text}" for g in generations[:N_SHOWN]],
    )
