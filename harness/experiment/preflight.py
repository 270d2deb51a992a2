"""Before the work: everything that an experiment needs is opened and checked, and said in a short table.

A plan's graph is run dry: data are read, each stage is looked for, and what does not stand finished is what would run.
Nothing is sent to a server, but for asking whether it is there; a few tokens are generated to tell how long it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError, ScreentestError, UnavailableError
from harness.experiment.design import ExperimentDesign
from harness.experiment.judges.costing import plan_design
from harness.experiment.kinds import StageKind, stage_kind
from harness.experiment.planning.pace import HOUR, Pace, measure_speed, say_effort
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preparing import prompts_of
from harness.experiment.record_parts import cluster_noun, describe_variant
from harness.experiment.session import NotStanding, Session
from harness.experiment.tasks import test_prompts, variant_of
from harness.experiment.variants import has_weights
from harness.experiment.workers.here import ThisProcess
from harness.experiment.workers.schedule import Event, Ran, Ticket, run_tasks
from harness.models.recorded import RecordedModel
from harness.store.artifacts import read_json
from harness.store.prepared import read_summary
from harness.types import Prompt, Variant

if TYPE_CHECKING:
    from harness.experiment.graph import Plan, Task
    from harness.store.tracking import StageResult


def look(session: Session, design: ExperimentDesign, plan: Plan, *, folder: Path) -> Preflight:
    """Check all that a plan needs, by running its graph dry.

    Raises:
        InputError: the data cannot be read, without which nothing else can be looked at.
    """
    found = Preflight()
    dry = session.dry()
    ran = Ran()
    first = {key: task for key, task in plan.tasks.items() if any(key == cell.prepared for cell in plan.cells)}
    needs_training = {key for key, task in first.items() if task.needs}
    for error in _run_dry(dry, {key: task for key, task in first.items() if key not in needs_training}, ran):
        raise error
    cell = next((cell for cell in plan.cells if cell.prepared in ran.runs), None)
    if cell is None:
        found.say("data", "prepared with the base that is trained first")
        return found
    prepared = session.tracking.stage_of(ran.runs[cell.prepared])
    prompts = test_prompts(session, cell.settings, prepared)
    say_data(found, design, prepared, prompts)
    if design.family.test == "sign_flip":
        reach = partial(design.require_reachable, len({prompt.cluster for prompt in prompts}))
        found.ask("clusters", reach, words=lambda _: "enough for the declared sign-flip tests")
    errors = _run_dry(dry, plan.tasks, ran)
    variants = _variants(found, dry, plan, ran, prepared=prepared, prompts=prompts)
    for error in errors:
        found.lack("stages", error)
    if session.endpoints:
        found.ask("servers", partial(session.require_served, variants.values()), words=lambda _: "offer every variant")
    _stages(found, plan, ran)
    found.planned += plan_design(dry, design, plan, prepared=prepared, prompts=prompts, folder=folder)
    found.say_money(session)
    paces = _local(found, session, design, plan, ran, variants, prepared, prompts)
    _efforts(found, session, plan, ran, prepared=prepared, paces=paces)
    return found


class _Dry(ThisProcess):
    """Workers that look whether a stage stands, and do nothing else but prepare data."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.errors: list[ScreentestError] = []

    def start(self, ticket: Ticket) -> None:
        try:
            super().start(ticket)
        except NotStanding:
            self._done.append(Event(key=ticket.task.key, kind="failed", message="", is_final=True))
        except ScreentestError as err:
            self.errors.append(err)
            self._done.append(Event(key=ticket.task.key, kind="failed", message=str(err), is_final=True))


def _run_dry(session: Session, tasks: Mapping[str, Task], ran: Ran) -> list[ScreentestError]:
    workers = _Dry(session)
    run_tasks(tasks, workers, ran=ran)
    return workers.errors


def say_data(found: Preflight, design: ExperimentDesign, prepared: StageResult, prompts: Sequence[Prompt]) -> None:
    """Task, prompts, references, clusters, and what of the rows was left out, merged or not taken."""
    summary, test = read_summary(prepared.folder), prompts_of(prepared, "test")
    noun = cluster_noun(prepared, design.kind)
    found.say("task", f"{design.kind.name}: {design.kind.words}" + (f"; {design.task_why}" if design.task_why else ""))
    n_clusters = len({prompt.cluster for prompt in prompts})
    found.say("prompts", f"{len(prompts):,} of {len(test):,}, in {n_clusters:,} {noun}s that are resampled")
    n = sum(bool((prompt.reference or "").strip()) for prompt in prompts)
    found.say("references", f"{n:,} of {len(prompts):,} prompts have one")
    found.say("system", f"“{summary.system}”" if summary.system else "none: what the model's template says")
    if summary.verdict_limit:
        found.say("verdicts", summary.verdict_limit)
    for said in summary.row_notes:
        found.say("rows", said)


def _variants(
    found: Preflight, session: Session, plan: Plan, ran: Ran, *, prepared: StageResult, prompts: Sequence[Prompt]
) -> dict[str, Variant]:
    """What is compared and exists already, opened; a recording's ids are looked for among the prompts."""
    known: dict[str, Variant] = {}
    for cell in plan.cells:
        if cell.adapter is None and "base" not in cell.needs and cell.arm not in known:
            find = partial(variant_of, session, cell.settings, {"prepared": prepared})
            variant = found.ask(cell.arm, find, words=lambda variant: of_variant(variant, prompts))
            if variant is not None:
                known[cell.arm] = variant
                if variant.kind == "endpoint" and cell.generate in ran.failures:
                    found.ask("server", partial(served, variant.endpoint or ""), words=str)
    return known


def of_variant(variant: Variant, prompts: Sequence[Prompt]) -> str:
    """A variant in words.

    Raises:
        InputError: it is a recording that answers none of the prompts.
    """
    said = describe_variant(variant)
    if variant.kind == "file":
        held = RecordedModel.load(Path(variant.path or "")).prompt_ids
        n = sum(prompt.id in held for prompt in prompts)
        if not n:
            raise InputError(
                f"`{Path(variant.path or '').name}` must answer prompts of these data by their id, none of its "
                f"{len(held):,} ids is one (its first: {', '.join(sorted(held)[:2])}; theirs: {prompts[0].id})"
            )
        return f"{said}: {n:,} of {len(prompts):,} prompts are answered by id"
    return f"{said}, {variant.base.source}" if variant.base is not None else said


def _base(variant: Variant) -> str:
    return "" if variant.base is None else variant.base.source


def served(url: str) -> str:
    """What a server offers; it is asked for nothing else."""
    from openai import APIConnectionError

    from harness.models.endpoint.connecting import list_models
    from harness.models.endpoint.replicas import KEY_VARIABLE

    try:
        return f"{url} answers with {len(list_models(url, key_variable=KEY_VARIABLE)):,} models"
    except UnavailableError as err:
        cause = err.__cause__
        if isinstance(cause, APIConnectionError) or getattr(cause, "status_code", None) in (401, 403):
            raise
        return f"{url} answers, without a list of models"


def _stages(found: Preflight, plan: Plan, ran: Ran) -> None:
    kinds = Counter(plan.tasks[key].kind for key in ran.failures)
    told = ", ".join(f"{n} × {kind}" for kind, n in kinds.items())
    found.say("stages", f"{len(ran.runs)} of {len(plan.tasks)} stand" + (f"; to run: {told}" if told else ""))


def require_affordable(found: Preflight, budget_usd: float) -> None:
    """Whether all that could be asked stays within a budget that nobody watches while it is spent."""
    prices = [p.plan.usd_at_most for p in found.planned]
    if None in prices or sum(price or 0.0 for price in prices) > budget_usd:
        most = "has no known price" if None in prices else f"could cost ${sum(price or 0.0 for price in prices):.4f}"
        said = f"`--budget-usd` must cover all calls before it begins: what is planned {most}, got ${budget_usd:g}"
        found.lack("budget", InputError(said))


def _local(
    found: Preflight,
    session: Session,
    design: ExperimentDesign,
    plan: Plan,
    ran: Ran,
    variants: Mapping[str, Variant],
    prepared: StageResult,
    prompts: Sequence[Prompt],
) -> dict[str, Pace]:
    """How fast a base is here, and what the replies of models in this process take.

    Trainings and judges are not in it; nothing is measured where no such replies are to be made.
    """
    cells = [
        cell
        for cell in plan.cells
        if cell.generate in ran.failures and has_weights(cell.settings["variant"]) and not session.endpoints
    ]
    model = next((variants[cell.arm] for cell in cells if cell.arm in variants), None)
    base = next((cell for cell in cells if "base" not in cell.needs), None)
    if model is None and base is not None:  # every arm is trained first, on a base that can be asked
        model = found.ask("base", partial(variant_of, session, base.settings, {"prepared": prepared}), words=_base)
    if model is None:
        return {}
    decoding = design.decoding.as_decoding(seed=design.seed)
    n = len({cell.generate for cell in cells}) * len(prompts) * decoding.n_draws
    pace = measure_speed(found, session, model, prompts, decoding=decoding, n=n)
    return {} if pace is None else {_base(model): pace}


def _efforts(
    found: Preflight, session: Session, plan: Plan, ran: Ran, *, prepared: StageResult, paces: Mapping[str, Pace]
) -> None:
    """What the stages that make adapters take, one by one and together."""
    train = read_summary(prepared.folder).splits["train"]
    seconds = []
    for task in (plan.tasks[key] for key in ran.failures):
        kind = stage_kind(task.kind)
        if kind.effort is not None:
            needs = {role: plan.tasks[key].settings for role, key in task.needs.items()}
            base = _trained_base(plan, task)
            effort, per_second = kind.effort(task.settings, needs, train), trained_before(session, kind, base=base)
            seconds.append(say_effort(found, paces.get(base), task.label, effort, per_second=per_second))
    if any(seconds):
        found.say("device", f"{sum(seconds) / HOUR:.2g} hours of one like this one to make the adapters")


def _trained_base(plan: Plan, task: Task) -> str:
    """The base that a stage works on: its own, or that of the adapter that it goes on from."""
    base = task.settings.get("base")
    if isinstance(base, Mapping):
        return str(base["source"])
    return _trained_base(plan, plan.tasks[task.needs["parent"]]) if "parent" in task.needs else ""


def trained_before(session: Session, kind: StageKind, *, base: str) -> float | None:
    """Tokens a second of the newest training of a kind and base that is on record; None where there is none."""
    if kind.record is None:
        return None
    for info in session.tracking.originals(stage=kind.name, limit=20):
        record = read_json(session.tracking.folder(info.run_id) / kind.record)
        if record["base"]["source"] == base:
            return float(record["tokens_per_second"])
    return None
