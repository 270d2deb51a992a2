"""What an experiment's judges would ask and cost, before anything is generated or sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import JudgeError
from harness.experiment.design import ExperimentDesign
from harness.experiment.judges.qualifications import hosts_of
from harness.experiment.judges.spending import Planned
from harness.experiment.session import Session
from harness.experiment.tasks import variant_of
from harness.generation import reply_request
from harness.judging.controls.planting import make_control_set
from harness.judging.deepeval.metric_judge import STEPPED
from harness.judging.judge_builder import build_judge, fit_to_server
from harness.judging.judge_protocol import RemoteJudge
from harness.judging.qualification import control_items, repeated_items
from harness.judging.spec import JudgeSpec, load_judge_spec
from harness.models.endpoint.replicas import served_name
from harness.types import ControlItem, Decoding, JudgedItem, Prompt, Variant

if TYPE_CHECKING:
    from harness.experiment.graph import Plan
    from harness.store.tracking import StageResult

# More than tokenizers put in one of English text, so that a reply not yet made is not too short.
CHARACTERS_PER_TOKEN = 6
FIRST_ONLY = "the first call of each score; what the metric asks next depends on the answers, and cannot be counted"


def plan_design(
    session: Session,
    design: ExperimentDesign,
    plan: Plan,
    *,
    prepared: StageResult,
    prompts: Sequence[Prompt],
    folder: Path,
) -> list[Planned]:
    """What the judges behind endpoints would be asked; replies that are not made yet count at their length cap."""
    specs = [spec for spec in judge_specs(design, folder=folder) if spec.is_remote]
    cells = {cell.label: cell for cell in plan.cells}
    asked = [
        cell
        for cell in cells.values()
        if (declared := cell.settings["variant"]).get("endpoint")
        or (session.endpoints and not declared.get("generations"))
    ]
    stand_ins = {
        label: [
            JudgedItem(
                id=f"{prompt.id}/{label}/{draw}",
                messages=prompt.messages,
                # Different for each, since equal replies would be counted once.
                reply=f"{label} {draw} ".ljust(design.decoding.max_new_tokens * CHARACTERS_PER_TOKEN, "x"),
                cluster=prompt.cluster,
            )
            for prompt in prompts
            for draw in range(design.decoding.n_draws)
        ]
        for label in (cells if specs else ())
    }
    decoding = design.decoding.as_decoding(seed=design.seed)
    planned = [
        plan_replies(session, variant, prompts, decoding=decoding, name=cell.label)
        for cell in asked
        if (variant := variant_of(session, cell.settings, {"prepared": prepared}))
    ]
    for spec in specs:
        if spec.declared.compares:
            control = next(items for label, items in stand_ins.items() if cells[label].arm == design.control)
            others = [items for items in stand_ins.values() if items is not control]
            planned += plan_scores(session, spec, [p for o in others for p in _pairs(o, control)])
        else:
            planned += plan_scores(session, spec, [item for items in stand_ins.values() for item in items])
        planned += plan_controls(session, spec, prepared=prepared, n=design.controls, seed=design.seed)
    return planned


def judge_specs(design: ExperimentDesign, *, folder: Path) -> list[JudgeSpec]:
    """The judges of an experiment, each once."""
    folders = {declared.judge for declared in design.measures.values() if declared.judge is not None}
    return [load_judge_spec(folder / name) for name in sorted(folders)]


def plan_replies(
    session: Session, variant: Variant, prompts: Sequence[Prompt], *, decoding: Decoding, name: str
) -> Planned:
    """What the replies of a variant behind an endpoint would take."""
    requests = [reply_request(variant, p, draw=draw) for p in prompts for draw in range(decoding.n_draws)]
    if variant.kind == "endpoint":
        model = session.spending.model(
            endpoint=variant.endpoint or "", name=variant.model or "", without=variant.without
        )
    else:
        model = session.spending.served(session.endpoints[0], served_name(variant))
    return Planned(what=f"replies of {name}", plan=model.plan(requests, decoding=decoding))


def plan_scores(
    session: Session, spec: JudgeSpec, items: Sequence[JudgedItem], *, what: str = "", repetition: int = 0
) -> list[Planned]:
    """What scoring the items, or comparing each with its opponent, would take."""
    what = what or ("verdicts" if spec.declared.compares else "scores")
    queue = session.spending.queue(spec, repetition=repetition)
    # `auto` is decided by asking, and nothing is asked here: both cases are shown.
    modes = spec.auto_modes if spec.mode == "auto" else (spec.mode,)
    goes_on = spec.deepeval is not None and spec.deepeval.metric not in STEPPED
    planned = []
    for mode in modes:
        known = session.spending.abilities(spec, may_ask=False)
        judge = build_judge(fit_to_server(spec.model_copy(update={"mode": mode}), known), queue=queue)
        if not isinstance(judge, RemoteJudge):
            raise JudgeError(f"what `{spec.name}` would ask is not known: it is of method {spec.method}")
        plan = queue.plan(judge.calls(items))
        label = f"{what} of {spec.name}, {'if ' if len(modes) > 1 else ''}{mode}"
        plan = replace(plan, usd_at_most=None) if goes_on else plan
        planned.append(Planned(what=label, plan=plan, note=FIRST_ONLY if goes_on else ""))
    return planned


def plan_controls(
    session: Session,
    spec: JudgeSpec,
    *,
    prepared: StageResult,
    n: int,
    seed: int,
    own_controls: Sequence[ControlItem] = (),
) -> list[Planned]:
    """What a judge's planted controls, and a user's own, would take."""
    names = [c.name for c in spec.criteria]
    planted = make_control_set(hosts_of(prepared), seed=seed, n=n, criteria=names, kind=spec.kind)
    controls = [*planted, *(c for c in own_controls if c.criterion in names)]
    compares = spec.declared.compares
    once, twice = control_items(controls, compares=compares), repeated_items(controls, compares=compares)
    return [
        *plan_scores(session, spec, once, what="controls"),
        *plan_scores(session, spec, twice, what="controls again", repetition=1),
    ]


def _pairs(items: Sequence[JudgedItem], control: Sequence[JudgedItem]) -> list[JudgedItem]:
    return [replace(a, opponent=b.reply) for a, b in zip(items, control, strict=True)]
