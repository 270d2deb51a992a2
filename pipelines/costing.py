"""What an experiment's judges would ask and cost, before anything is generated or sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.ablation.design import EvaluationDesign
from harness.generation import reply_request
from harness.judging.build import build_judge, remote_reader
from harness.judging.controls.planting import make_control_set
from harness.judging.geval import GEvalJudge
from harness.judging.qualification import control_items, repeated_items
from harness.judging.spec import JudgeSpec, Mode, load_judge_spec
from harness.types import JudgedItem, Prompt
from pipelines.drawing import draw_prompts
from pipelines.prepare import read_summary
from pipelines.session import Session
from pipelines.spending import Planned
from pipelines.stages import prepare_config, prepare_stage, prompts_of
from pipelines.variants import resolve_variant, tokenizer_source

if TYPE_CHECKING:
    from harness.tracking import StageResult

CHARACTERS_PER_TOKEN = (
    6  # more than tokenizers put in one of English text, so that a reply not yet made is not too short
)


def plan_design(session: Session, design: EvaluationDesign, *, folder: Path, limit: int | None) -> list[Planned]:
    """What the judges behind endpoints would be asked; replies that are not made yet count at their length cap."""
    specs = [spec for spec in judge_specs(design, folder=folder) if spec.is_remote]
    asked = [name for name, declared in design.variants.items() if declared.endpoint is not None]
    if not specs and not asked:
        return []
    ordered = [design.variants[design.control], *design.variants.values()]
    config = prepare_config(design.data, base=tokenizer_source(ordered, session.tracking), limit=limit)
    prepared = prepare_stage(session, config)
    prompts = draw_prompts(prompts_of(prepared, "test"), n=design.data.prompts, seed=design.seed)
    stand_ins = [
        JudgedItem(
            id=f"{prompt.id}/{variant}/{draw}",
            messages=prompt.messages,
            # Different for each, since equal replies would be counted once.
            reply=f"{variant} {draw} ".ljust(design.decoding.max_new_tokens * CHARACTERS_PER_TOKEN, "x"),
            cluster=prompt.cluster,
        )
        for prompt in prompts
        for variant in design.variants
        for draw in range(design.decoding.n_draws)
    ]
    planned = [_plan_variant(session, design, name, prepared=prepared, prompts=prompts) for name in asked]
    for spec in specs:
        planned += plan_scores(session, spec, stand_ins)
        planned += plan_controls(session, spec, prepared=prepared, n=design.controls, seed=design.seed)
    return planned


def judge_specs(design: EvaluationDesign, *, folder: Path) -> list[JudgeSpec]:
    """The judges of an experiment, each once."""
    folders = {declared.judge for declared in design.measures.values() if declared.judge is not None}
    return [load_judge_spec(folder / name) for name in sorted(folders)]


def _plan_variant(
    session: Session, design: EvaluationDesign, name: str, *, prepared: StageResult, prompts: Sequence[Prompt]
) -> Planned:
    """What the replies of a variant behind an endpoint would take."""
    variant = resolve_variant(
        name,
        design.variants[name],
        tracking=session.tracking,
        system=read_summary(prepared.folder).system,
        shots_from=lambda: prompts_of(prepared, "train"),
        seed=design.seed,
    )
    decoding = design.decoding.noun(seed=design.seed)
    requests = [reply_request(variant, p, draw=draw) for p in prompts for draw in range(decoding.n_draws)]
    model = session.spending.model(endpoint=variant.endpoint or "", name=variant.model or "")
    return Planned(what=f"replies of {name}", plan=model.plan(requests, decoding=decoding))


def plan_scores(session: Session, spec: JudgeSpec, items: Sequence[JudgedItem]) -> list[Planned]:
    """What scoring the items would take."""
    return _plan(session, spec, items, what="scores")


def plan_controls(session: Session, spec: JudgeSpec, *, prepared: StageResult, n: int, seed: int) -> list[Planned]:
    """What a judge's planted controls would take."""
    prompts = prompts_of(prepared, "train") + prompts_of(prepared, "validation")
    controls = make_control_set(prompts, seed=seed, n=n, criteria=[c.name for c in spec.criteria])
    return [
        *_plan(session, spec, control_items(controls), what="controls"),
        *_plan(session, spec, repeated_items(controls), what="controls again", repetition=1),
    ]


def _plan(
    session: Session, spec: JudgeSpec, items: Sequence[JudgedItem], *, what: str, repetition: int = 0
) -> list[Planned]:
    desk = session.spending.desk(spec, repetition=repetition)
    # `auto` is decided by asking, and nothing is asked here: both cases are shown.
    modes: tuple[Mode, ...] = ("logprobs", "sampled") if spec.mode == "auto" else (spec.mode,)
    planned = []
    for mode in modes:
        decided = spec.model_copy(update={"mode": mode})
        judge = build_judge(decided, desk=desk)
        if isinstance(judge, GEvalJudge):
            plan = desk.plan(remote_reader(decided, decided.source, desk).calls(judge.questions(items)))
            label = f"{what} of {spec.name}, {'if ' if len(modes) > 1 else ''}{mode}"
            planned.append(Planned(what=label, plan=plan))
    return planned
