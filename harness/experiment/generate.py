"""Replies of one variant, outside an experiment: what `screentest generate` runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import ScreentestError
from harness.experiment.design import DataDesign, DecodingDesign
from harness.experiment.graph import Builder, Task
from harness.experiment.judges.costing import plan_replies
from harness.experiment.kinds import stage_kind
from harness.experiment.planning.pace import measure_speed
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preflight import of_variant, served
from harness.experiment.preparing import prepare_settings
from harness.experiment.session import NotStanding, Session
from harness.experiment.tasks import test_prompts, variant_of
from harness.experiment.variants import parse_variant, tokenizer_source
from harness.experiment.workers.here import run_here
from harness.generation import decoding_json
from harness.store.tracking import StageResult
from harness.types import Decoding, Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """Prompts, then replies."""

    prepare: Task
    generate: Task
    decoding: Decoding


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
    graph = _graph(session, variant, data=data, decoding=decoding, seed=seed, shots=shots, limit=limit)
    return run_here(session, {task.key: task for task in (graph.prepare, graph.generate)})[graph.generate.key]


def look(session: Session, variant: str, **asked: Any) -> Preflight:
    """What the replies of `run` would need and take; nothing is generated but a few tokens, and nothing is sent."""
    found, dry = Preflight(), session.dry()
    graph = _graph(dry, variant, **asked)
    (prepared,) = run_here(dry, {graph.prepare.key: graph.prepare}).values()
    settings, needed = graph.generate.settings, {"prepared": prepared}
    prompts = test_prompts(dry, settings, prepared)
    found.say("prompts", f"{len(prompts):,}, in {len({prompt.cluster for prompt in prompts}):,} clusters")
    find = partial(variant_of, dry, settings, needed)
    asked_of = found.ask("variant", find, words=lambda variant: of_variant(variant, prompts))
    if asked_of is None:
        return found
    try:
        stage_kind(graph.generate.kind).run(dry, settings, needed)
        found.say("stages", "the replies stand: nothing would be done")
    except NotStanding:
        if asked_of.kind == "endpoint":
            found.ask("server", partial(served, asked_of.endpoint or ""), words=str)
        if asked_of.kind == "endpoint" or dry.endpoints:
            found.planned.append(plan_replies(dry, asked_of, prompts, decoding=graph.decoding, name=asked_of.name))
            found.say_money(session)
        elif asked_of.kind == "model":
            measure_speed(found, session, asked_of, prompts, decoding=graph.decoding, n=len(prompts))
    except ScreentestError as err:
        found.lack("stages", err)
    return found


def _graph(
    session: Session,
    variant: str,
    *,
    data: DataDesign,
    decoding: DecodingDesign,
    seed: int,
    shots: int,
    limit: int | None,
) -> _Graph:
    declared = parse_variant(variant).model_copy(update={"shots": shots})
    drawn = decoding.noun(seed=seed)
    settings = {
        "n": data.prompts,
        "seed": seed,
        "variant": declared.model_dump(mode="json"),
        "name": Path(variant).name,
        "decoding": decoding_json(drawn),
        "adopt": True,
    }
    builder = Builder()
    base = tokenizer_source([declared], session.tracking)
    prepared = builder.add("prepare", prepare_settings(data, base=base, limit=limit), {}, "Prepare")
    asked = builder.add("generate", settings, {"prepared": prepared}, "Generate")
    return _Graph(prepare=builder.tasks[prepared], generate=builder.tasks[asked], decoding=drawn)


def recorded(generation: Generation) -> dict[str, object]:
    """A reply as a file of generations holds it, so that the file can be a variant elsewhere."""
    keys = ["prompt_id", "text", "draw", "finish_reason", "n_tokens", *(["thinking"] if generation.thinking else [])]
    return {key: getattr(generation, key) for key in keys}
