"""Replies of one variant, outside an experiment: what `screentest generate` runs."""

from __future__ import annotations

from pathlib import Path

from harness.config import Seed, StrictConfig
from harness.experiment.design import DataDesign, DecodingDesign
from harness.experiment.leakage import refuse_seen
from harness.experiment.measuring import generate_stage
from harness.experiment.preparing import prepare, prompts_of
from harness.experiment.prompt_draw import draw_prompts
from harness.experiment.session import Session
from harness.experiment.variants import parse_variant, resolve_variant, tokenizer_source
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Decoding, Generation


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
    prepared = prepare(session, data, base=tokenizer_source([declared], session.tracking), limit=config.limit)
    variant = resolve_variant(
        Path(config.variant).name,
        declared,
        tracking=session.tracking,
        system=read_summary(prepared.folder).system,
        shots_from=lambda: prompts_of(prepared, "train"),
        seed=config.seed,
        probe=session.spending.prober,
    )
    prompts = draw_prompts(prompts_of(prepared, "test"), n=config.prompts, seed=config.seed)
    refuse_seen(session.tracking, [variant], prepared=prepared, test=prompts)
    decoding: Decoding = DecodingDesign(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        keep_thinking=config.keep_thinking,
    ).noun(seed=config.seed)
    return generate_stage(session, variant, prompts, decoding=decoding, adopt=True)


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
