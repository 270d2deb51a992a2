"""Replies of one variant, outside an experiment: what `screentest generate` runs."""

from __future__ import annotations

from pathlib import Path

from harness.config import Seed, StrictConfig
from harness.experiment.design import DataDesign, DecodingDesign
from harness.experiment.graph import Builder
from harness.experiment.preparing import prepare_settings
from harness.experiment.session import Session
from harness.experiment.variants import parse_variant, tokenizer_source
from harness.experiment.workers.here import run_here
from harness.generation import decoding_json
from harness.store.tracking import StageResult
from harness.types import Generation


class GenerateConfig(StrictConfig):
    """Every setting of a generation."""

    variant: str
    corpus: str | None
    file: str | None
    prompts: int
    shots: int
    max_new_tokens: int
    temperature: float
    top_p: float
    keep_thinking: bool
    seed: Seed
    limit: int | None


def run(session: Session, config: GenerateConfig) -> StageResult:
    """Prepare the prompts, then generate on TEST."""
    declared = parse_variant(config.variant).model_copy(update={"shots": config.shots})
    # Not the seed of the draw: it would split the corpus anew and ask an adapter about its own TRAIN films.
    data = DataDesign(corpus=config.corpus, file=config.file, prompts=config.prompts)
    decoding = DecodingDesign(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        keep_thinking=config.keep_thinking,
    ).noun(seed=config.seed)
    settings = {
        "n": config.prompts,
        "seed": config.seed,
        "variant": declared.model_dump(mode="json"),
        "name": Path(config.variant).name,
        "decoding": decoding_json(decoding),
        "adopt": True,
    }
    builder = Builder()
    base = tokenizer_source([declared], session.tracking)
    prepared = builder.add("prepare", prepare_settings(data, base=base, limit=config.limit), {}, "Prepare")
    asked = builder.add("generate", settings, {"prepared": prepared}, "Generate")
    return run_here(session, builder.tasks)[asked]


def recorded(generation: Generation) -> dict[str, object]:
    """A reply as a file of generations holds it, so that the file can be a variant elsewhere."""
    return {
        "prompt_id": generation.prompt_id,
        "text": generation.text,
        "draw": generation.draw,
        "finish_reason": generation.finish_reason,
        "n_tokens": generation.n_tokens,
        **({"thinking": generation.thinking} if generation.thinking else {}),
    }
