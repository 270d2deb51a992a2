"""One engine: the stages of a plan are run, what they left is collected, and becomes a record and its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.experiment.analyse import analyse_stage
from harness.experiment.collect import collect
from harness.experiment.design import ExperimentDesign
from harness.experiment.graph import Plan, Task
from harness.experiment.judges.qualifications import hosts_of
from harness.experiment.judges.teaching import TAUGHT, with_head
from harness.experiment.kinds import provider_names
from harness.experiment.lineage import refuse_seen
from harness.experiment.session import Session
from harness.experiment.tasks import test_prompts, variant_of
from harness.experiment.workers.schedule import Event, Ran, Ticket, Workers, run_tasks
from harness.judging.spec import load_judge_spec
from harness.reporting.ablation_record import Work
from harness.reporting.finished_reports import export_report
from harness.reporting.render import ReportFiles
from harness.store.artifacts import digest_json
from harness.store.tracking import StageResult
from harness.types import Variant

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished experiment."""

    record: ReportRecord
    files: ReportFiles
    run_id: str  # of the command
    plan: Plan
    ran: Ran
    lost: Mapping[str, str]  # cell → why it is missing
    stages: tuple[StageResult, ...]
    seconds: float  # wall time of the whole command


def run_plan(
    session: Session,
    design: ExperimentDesign,
    plan: Plan,
    workers: Workers,
    *,
    ran: Ran,
    beside: Iterable[str] = (),
    parents: Mapping[str, str] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    n_attempts: int = 1,
) -> None:
    """Prepare, look at what TEST holds and at who is asked, then everything else.

    Args:
        session: of the driver; its `parent` is the run that shared stages nest under.
        ran: what is done so far; filled.
        beside: digests that stand declared beside the design's own while replies are made.
        parents: cell → the run that its own stages nest under.

    Raises:
        InputError: what was declared cannot be asked, or a judge taught; found before anything is generated or trained.
    """
    users, standing = plan.users(), ""

    def ticket(task: Task, needs: Mapping[str, str]) -> Ticket:
        # A stage of one arm nests under that arm's run; a shared one under the command's.
        own = [cell.name for cell in users[task.key]]
        above = (parents or {}).get(own[0]) if len(own) == 1 else None
        return Ticket(
            task=task, needs=needs, parent=above or session.parent or "", declaration=standing,
            is_forced=session.is_forced, providers=provider_names(),
        )  # fmt: skip

    prepares = {task.key for cell in plan.cells for task in plan.below(cell.prepared)}
    first = {key: task for key, task in plan.tasks.items() if key in prepares}
    run_tasks(first, workers, ran=ran, ticket=ticket, on_event=on_event, n_attempts=n_attempts)
    prepared = {
        cell.prepared: session.tracking.stage_of(ran.runs[cell.prepared])
        for cell in plan.cells
        if cell.prepared in ran.runs
    }
    _require_same_test(session, design, plan, ran, prepared)
    digests = {arm: variant.digest for arm, variant in _declared(session, plan, prepared).items()}
    standing = " ".join(dict.fromkeys([*design.standing(digests), *beside]))
    for key in plan.qualify.values():
        hosts = plan.tasks[key].needs["prepared"]
        if hosts in prepared and not hosts_of(prepared[hosts]):
            if TAUGHT in plan.tasks[key].needs:  # refused before anything is generated
                with_head(session, load_judge_spec(Path(plan.tasks[key].settings["judge"])))
            ran.failures[key] = "these data hold no prompts to plant controls in"
    run_tasks(plan.tasks, workers, ran=ran, ticket=ticket, on_event=on_event, n_attempts=n_attempts)


def conclude(
    session: Session,
    design: ExperimentDesign,
    plan: Plan,
    ran: Ran,
    *,
    profile: str | None = None,
    executor: str = "this process",
    n_workers: int = 1,
) -> Finished:
    """Collect, analyse, report."""
    results = ran.results(session.tracking)
    done = {stage.run_id for stage in session.done}
    session.done += [results[key] for key in plan.tasks if key in results and results[key].run_id not in done]
    work = Work(
        executor=executor,
        n_workers=n_workers,
        n_stages=len(plan.tasks),
        n_reused=sum(result.reused for result in results.values()),
        n_retries=ran.n_retries,
        stage_seconds=sum(result.seconds for result in results.values()),
        wall_seconds=ran.seconds,
    )
    collected = collect(session, design, plan, ran, results=results)
    record = analyse_stage(session, design, plan=plan, collected=collected, profile=profile, work=work)
    return Finished(
        record=record,
        files=export_report(session.tracking, record),
        run_id=session.parent or "",
        plan=plan,
        ran=ran,
        lost=collected.lost,
        stages=tuple(session.done),
        seconds=ran.seconds,
    )


def _declared(session: Session, plan: Plan, prepared: Mapping[str, StageResult]) -> dict[str, Variant]:
    """Variants that exist already, by arm: found, strangers to the films of TEST, and served."""
    found: dict[str, Variant] = {}
    for cell in plan.cells:
        is_made_here = cell.adapter is not None or "base" in cell.needs
        if not is_made_here and cell.prepared in prepared and cell.arm not in found:
            needed = {"prepared": prepared[cell.prepared]}
            variant = found[cell.arm] = variant_of(session, cell.settings, needed)
            asked = cell.settings if cell.heldout is None else plan.tasks[cell.heldout].settings
            test = test_prompts(session, asked, needed["prepared"])
            refuse_seen(session.tracking, [variant], prepared=needed["prepared"], test=test)
    session.require_served(found.values())
    return found


def _require_same_test(
    session: Session, design: ExperimentDesign, plan: Plan, ran: Ran, prepared: Mapping[str, StageResult]
) -> None:
    """Every arm is asked the same prompts, and they suffice for the declared tests.

    Raises InputError: arms would see different TEST prompts, or no sign-flip p value can be small enough.
    """
    asked: dict[str, str] = {}
    for cell in plan.cells:
        if cell.prepared not in prepared or cell.arm in asked:
            continue
        prompts = test_prompts(session, cell.settings, prepared[cell.prepared])
        asked[cell.arm] = digest_json([(p.id, [m.content for m in p.messages], p.reference) for p in prompts])
        design.require_reachable(len({p.cluster for p in prompts}))
    if not asked:
        why = next(iter(ran.failures.values()), "")
        raise InputError(f"`{design.name}`: the corpus could not be prepared: {why}")
    first = next(iter(asked))
    for arm, digest in asked.items():
        if digest != asked[first]:
            raise InputError(
                f"arms `{first}` and `{arm}` have different TEST prompts, so that they cannot be compared: the "
                "tokenizers of their bases cut the windows differently; raise `data.max_tokens` until all fit"
            )
