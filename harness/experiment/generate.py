"""Replies of one variant, outside an experiment: what `screentest generate` runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.config import Seed, StrictConfig
from harness.errors import ScreentestError
from harness.experiment.design import DataDesign, DecodingDesign
from harness.experiment.graph import Builder, Task
from harness.experiment.judges.costing import plan_replies
from harness.experiment.kinds import stage_kind
from harness.experiment.planning.checks import Preflight
from harness.experiment.planning.pace import measure_speed
from harness.experiment.preflight import of_variant, served
from harness.experiment.preparing import prepare_settings
from harness.experiment.session import NotStanding, Session
from harness.experiment.tasks import test_prompts, variant_of
from harness.experiment.variants import parse_variant, tokenizer_source
from harness.experiment.workers.here import run_here
from harness.generation import decoding_json
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """Prompts, then replies."""

    prepare: Task
    generate: Task
    decoding: Decoding


def run(session: Session, config: GenerateConfig) -> StageResult:
    """Prepare the prompts, then generate on TEST."""
    graph = _graph(session, config)
    return run_here(session, {task.key: task for task in (graph.prepare, graph.generate)})[graph.generate.key]


def look(session: Session, config: GenerateConfig) -> Preflight:
    """What the replies would need and take; nothing is generated but a few tokens, and nothing is sent."""
    found, dry = Preflight(), session.dry()
    graph = _graph(dry, config)
    (prepared,) = run_here(dry, {graph.prepare.key: graph.prepare}).values()
    settings, needed = graph.generate.settings, {"prepared": prepared}
    prompts = test_prompts(dry, settings, prepared)
    found.say("prompts", f"{len(prompts):,}, in {len({prompt.cluster for prompt in prompts}):,} clusters")
    find = partial(variant_of, dry, settings, needed)
    variant = found.ask("variant", find, words=lambda variant: of_variant(variant, prompts))
    if variant is None:
        return found
    try:
        stage_kind(graph.generate.kind).run(dry, settings, needed)
        found.say("stages", "the replies stand: nothing would be done")
    except NotStanding:
        if variant.kind == "endpoint":
            found.ask("server", partial(served, variant.endpoint or ""), words=str)
        if variant.kind == "endpoint" or dry.endpoints:
            found.planned.append(plan_replies(dry, variant, prompts, decoding=graph.decoding, name=variant.name))
            found.say_money(session)
        elif variant.kind == "model":
            measure_speed(found, session, variant, prompts, decoding=graph.decoding, n=len(prompts))
    except ScreentestError as err:
        found.lack("stages", err)
    return found


def _graph(session: Session, config: GenerateConfig) -> _Graph:
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
    return _Graph(prepare=builder.tasks[prepared], generate=builder.tasks[asked], decoding=decoding)


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
