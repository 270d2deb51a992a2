"""From finished tasks to the rows of an analysis: every arm's replies, losses, metrics and scores, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.experiment import measured_arms as rows
from harness.experiment.analysis.contrasts import MeasuredArm
from harness.experiment.analysis.seeded import SeededArm
from harness.experiment.arms import AblationDesign
from harness.experiment.judges.judge_files import use_of
from harness.experiment.judges.judge_uses import JudgeUse
from harness.experiment.judges.qualifications import QUALIFICATIONS
from harness.experiment.measured_arms import Replies
from harness.experiment.plan import Cell, Plan
from harness.experiment.reply_measures import reply_measures
from harness.experiment.score_table import ScoreFiles
from harness.experiment.session import Session
from harness.experiment.tasks import test_prompts, variant_of
from harness.experiment.workers.schedule import Ran
from harness.judging.qualification import is_self_judging
from harness.judging.spec import load_judge_spec
from harness.store.artifacts import from_json, read_json
from harness.store.tracking import StageResult
from harness.types import Generation, Prompt, Qualification, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRows:
    """One arm with one seed, as far as it came."""

    cell: Cell
    variant: Variant
    replies: Replies | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything that an analysis reads."""

    arms: tuple[SeededArm, ...]
    cells: tuple[CellRows, ...]  # that came through
    lost: Mapping[str, str]  # cell → why it is missing
    prompts: Sequence[Prompt]
    scores: Mapping[str, ScoreFiles]  # cell → every judge's scores on its replies
    uses: Mapping[str, JudgeUse]  # measure → how its judge is used
    qualifications: tuple[Qualification, ...]
    results: Mapping[str, StageResult]  # task → its stage

    def of_arm(self, arm: str) -> list[CellRows]:
        """The cells of one arm, seed by seed."""
        return [found for found in self.cells if found.cell.arm == arm]


def collect(
    session: Session, design: AblationDesign, plan: Plan, ran: Ran, *, results: Mapping[str, StageResult]
) -> Collected:
    """Read what the tasks have left, and take the metrics of all replies together."""
    lost = {cell.name: why for cell in plan.cells if (why := _loss(plan, cell, ran))}
    through = [cell for cell in plan.cells if cell.name not in lost]
    cells = tuple(_cell_rows(session, plan, cell, results) for cell in through)
    prompts = _prompts(plan, cells, results)
    qualifications = tuple(
        from_json(Qualification, row)
        for key in plan.qualify.values()
        if key in results
        for row in read_json(results[key].folder / QUALIFICATIONS)
    )
    families = [found.variant.base.family if found.variant.base else None for found in cells]
    uses = {}
    for name, declared in design.measures.items():
        if declared.judge is not None:
            judge = Path(plan.tasks[plan.qualify[declared.judge]].settings["judge"])
            use = use_of(session, load_judge_spec(judge), criterion=declared.criterion or name)
            use = replace(use, measure=name, is_self_family=is_self_judging(use.spec.family, families))
            uses[name] = use.under(qualifications)
    arms: list[SeededArm] = []
    if "heldout_loss" in design.measures:
        arms += _seeded(design, "heldout_loss", plan, {c.cell.name: _heldout(c, results) for c in cells})
    arms += _metrics(session, design, plan, cells, prompts)
    for name, use in uses.items():
        folder = design.measures[name].judge or ""
        measured = {}
        for found in cells:
            result = results[found.cell.judged[folder]]
            (arm,) = rows.score_arms(result, measures={name: use}, variants=(found.variant.name,))
            measured[found.cell.name] = arm
        arms += _seeded(design, name, plan, measured, judge_id=use.judge_id)
    scores = {
        found.cell.name: ScoreFiles(
            files=tuple(results[key].folder / rows.SCORES for key in found.cell.judged.values())
        )
        for found in cells
    }
    return Collected(
        arms=tuple(arms),
        cells=cells,
        lost=lost,
        prompts=prompts,
        scores=scores,
        uses=uses,
        qualifications=qualifications,
        results=results,
    )


def generations_of(found: CellRows) -> tuple[Generation, ...]:
    """A cell's replies; none where no measure needs any."""
    return found.replies.generations if found.replies is not None else ()


def _loss(plan: Plan, cell: Cell, ran: Ran) -> str:
    """Why a cell is missing; empty where it came through."""
    failed = [task for task in plan.of_cell(cell).values() if task.key in ran.failures]
    # The first in the plan's order is where it began; what stood on it failed with it.
    first = next((task for key, task in plan.tasks.items() if any(f.key == key for f in failed)), None)
    return "" if first is None else f"{first.label}: {ran.failures[first.key]}"


def _cell_rows(session: Session, plan: Plan, cell: Cell, results: Mapping[str, StageResult]) -> CellRows:
    asking = plan.tasks[cell.generate or cell.heldout or cell.prepared]
    needed = {role: results[key] for role, key in asking.needs.items()}
    variant = variant_of(session, asking.settings, needed)
    replies = None if cell.generate is None else rows.read_replies(variant.name, results[cell.generate])
    return CellRows(cell=cell, variant=variant, replies=replies)


def _prompts(plan: Plan, cells: Sequence[CellRows], results: Mapping[str, StageResult]) -> list[Prompt]:
    if not cells:
        return []
    cell = cells[0].cell
    asking = plan.tasks[cell.generate or cell.heldout or cell.prepared]
    return test_prompts(asking.settings, results[cell.prepared])


def _heldout(found: CellRows, results: Mapping[str, StageResult]) -> MeasuredArm:
    return rows.heldout_arm(found.variant.name, results[found.cell.heldout or ""])


def _metrics(
    session: Session, design: AblationDesign, plan: Plan, cells: Sequence[CellRows], prompts: Sequence[Prompt]
) -> list[SeededArm]:
    through = {found.cell.name: found for found in cells if found.replies is not None}
    replies = {found.variant.name: found.replies for found in through.values() if found.replies is not None}
    names = {name: found.variant.name for name, found in through.items()}
    # Arms that differ in decoding alone ask the same variant: each decoding is measured by itself.
    if len({reply.stage.digest for found in through.values() if (reply := found.replies)}) != len(replies):
        renamed = {name: _renamed(reply, name) for name, reply in _by_decoding(cells).items()}
        by_stage = {reply.stage.digest: name for name, reply in renamed.items()}
        names = {name: by_stage[found.replies.stage.digest] for name, found in through.items() if found.replies}
        replies = renamed
    made = reply_measures(session, design.measures, replies=replies, prompts=prompts)
    return [
        arm
        for measure in dict.fromkeys(name for name, _ in made)
        for arm in _seeded(design, measure, plan, {cell: made[measure, name] for cell, name in names.items()})
    ]


def _by_decoding(cells: Sequence[CellRows]) -> dict[str, Replies]:
    """Replies under names that tell decodings apart: the start of the stage's own digest."""
    return {
        f"{found.variant.name}-{found.replies.stage.digest[:8]}": found.replies
        for found in cells
        if found.replies is not None
    }


def _renamed(replies: Replies, name: str) -> Replies:
    generations = tuple(replace(generation, variant=name) for generation in replies.generations)
    return replace(replies, variant=name, generations=generations)


def _seeded(
    design: AblationDesign,
    measure: str,
    plan: Plan,
    measured: Mapping[str, MeasuredArm],
    *,
    judge_id: str | None = None,
) -> list[SeededArm]:
    """Arms of one measure in the declared order; one of which no seed came through is left out."""
    seeded = []
    for arm in design.arms:
        cells = [cell for cell in plan.cells if cell.arm == arm]
        by_seed = {cell.seed: measured[cell.name] for cell in cells if cell.name in measured}
        if by_seed:
            seeded.append(
                SeededArm(
                    measure=measure,
                    arm=arm,
                    by_seed=by_seed,
                    is_trained=cells[0].adapter is not None,
                    n_seeds_lost=len(cells) - len(by_seed),
                    judge_id=judge_id,
                )
            )
    return seeded
