"""Replies of one variant, outside an experiment: what `screentest generate` runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
class Asked:
    """Replies that are asked for."""

    variant: str  # as on a command line
    data: DataDesign
    decoding: DecodingDesign
    # Of the draw alone: the seed of `data` is another, which splits the corpus; with that of a draw an adapter would be
    # asked about its own TRAIN films.
    seed: int
    shots: int = 0
    limit: int | None = None

    @property
    def drawn(self) -> Decoding:
        """How the replies are drawn."""
        return self.decoding.as_decoding(seed=self.seed)

    def tasks(self, session: Session) -> tuple[Task, Task]:
        """The prompts, then the replies."""
        declared = parse_variant(self.variant).model_copy(update={"shots": self.shots})
        base = tokenizer_source([declared], session.tracking)
        settings = {
            "n": self.data.prompts,
            "seed": self.seed,
            "variant": declared.model_dump(mode="json"),
            "name": Path(self.variant).name,
            "decoding": decoding_json(self.drawn),
            "adopt": True,
        }
        builder = Builder()
        prepared = builder.add("prepare", prepare_settings(self.data, base=base, limit=self.limit), {}, "Prepare")
        replies = builder.add("generate", settings, {"prepared": prepared}, "Generate")
        return builder.tasks[prepared], builder.tasks[replies]


def run(session: Session, asked: Asked) -> StageResult:
    """Prepare the prompts, then generate on TEST."""
    tasks = asked.tasks(session)
    return run_here(session, {task.key: task for task in tasks})[tasks[-1].key]


def look(session: Session, asked: Asked) -> Preflight:
    """What the replies of `run` would need and take; nothing is generated but a few tokens, and nothing is sent."""
    found, dry = Preflight(), session.dry()
    prepare, generate = asked.tasks(dry)
    (prepared,) = run_here(dry, {prepare.key: prepare}).values()
    settings, needed = generate.settings, {"prepared": prepared}
    prompts = test_prompts(dry, settings, prepared)
    found.say("prompts", f"{len(prompts):,}, in {len({prompt.cluster for prompt in prompts}):,} clusters")
    find = partial(variant_of, dry, settings, needed)
    variant = found.ask("variant", find, words=lambda variant: of_variant(variant, prompts))
    if variant is None:
        return found
    try:
        stage_kind(generate.kind).run(dry, settings, needed)
        found.say("stages", "the replies stand: nothing would be done")
    except NotStanding:
        if variant.kind == "endpoint":
            found.ask("server", partial(served, variant.endpoint or ""), words=str)
        if variant.kind == "endpoint" or dry.endpoints:
            found.planned.append(plan_replies(dry, variant, prompts, decoding=asked.drawn, name=variant.name))
            found.say_money(session)
        elif variant.kind == "model":
            measure_speed(found, session, variant, prompts, decoding=asked.drawn, n=len(prompts))
    except ScreentestError as err:
        found.lack("stages", err)
    return found


def recorded(generation: Generation) -> dict[str, object]:
    """A reply as a file of generations holds it, so that the file can be a variant elsewhere."""
    keys = ["prompt_id", "text", "draw", "finish_reason", "n_tokens", *(["thinking"] if generation.thinking else [])]
    return {key: getattr(generation, key) for key in keys}
