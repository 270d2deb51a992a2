"""Replies of one variant, outside an experiment: what `screentest generate` runs."""

from __future__ import annotations

from pathlib import Path

from harness.experiment.design import DataDesign, DecodingDesign
from harness.experiment.graph import Builder
from harness.experiment.preparing import prepare_settings
from harness.experiment.session import Session
from harness.experiment.variants import parse_variant, tokenizer_source
from harness.experiment.workers.here import run_here
from harness.generation import decoding_json
from harness.store.tracking import StageResult
from harness.types import Generation


def run(
    session: Session,
    variant: str,
    *,
    data: DataDesign,
    decoding: DecodingDesign,
    seed: int,
    shots: int = 0,
    limit: int | None = None,
) -> StageResult:
    """Prepare the prompts, then generate on TEST; `seed` is that of the draw alone.

    The seed of `data` is another: it would split the corpus anew and ask an adapter about its own TRAIN films.
    """
    declared = parse_variant(variant).model_copy(update={"shots": shots})
    settings = {
        "n": data.prompts,
        "seed": seed,
        "variant": declared.model_dump(mode="json"),
        "name": Path(variant).name,
        "decoding": decoding_json(decoding.noun(seed=seed)),
        "adopt": True,
    }
    builder = Builder()
    base = tokenizer_source([declared], session.tracking)
    prepared = builder.add("prepare", prepare_settings(data, base=base, limit=limit), {}, "Prepare")
    asked = builder.add("generate", settings, {"prepared": prepared}, "Generate")
    return run_here(session, builder.tasks)[asked]


def recorded(generation: Generation) -> dict[str, object]:
    """A reply as a file of generations holds it, so that the file can be a variant elsewhere."""
    keys = ["prompt_id", "text", "draw", "finish_reason", "n_tokens", *(["thinking"] if generation.thinking else [])]
    return {key: getattr(generation, key) for key in keys}
