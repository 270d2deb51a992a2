"""From finished stages to the rows of an analysis: every arm's replies, losses, measures and scores, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import StageError
from harness.experiment import measured_arms as rows
from harness.experiment import recordings as recorded
from harness.experiment.analysis.contrasts import MeasuredArm
from harness.experiment.analysis.seeded import SeededArm
from harness.experiment.design import EvaluationDesign, ExperimentDesign
from harness.experiment.graph import REPLIES, Cell, Plan, Task
from harness.experiment.judges.biases import Comparison
from harness.experiment.judges.judge_uses import JudgeUse, family_of_variant, judge_use
from harness.experiment.judges.qualifications import qualifications_on_record, read_qualifications
from harness.experiment.judges.teaching import TAUGHT, with_head
from harness.experiment.measured_arms import ImportedRun, Replies, Scored, read_imported_run, scored_replies
from harness.experiment.preparing import prompts_of
from harness.experiment.questions import Question
from harness.experiment.reply_measures import own_arms, remarks_of, shipped_arms
from harness.experiment.session import Session
from harness.experiment.tasks import test_prompts, variant_of
from harness.experiment.workers.schedule import Ran
from harness.judging.spec import load_judge_spec
from harness.measures.heldout import WEIGHINGS
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Absence, Generation, Prompt, Qualification, Variant

ENDS = ("cut_off", "no_text")  # how replies ended, which is shown of every arm


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRows:
    """One arm with one seed, as far as it came."""

    cell: Cell
    variant: Variant
    replies: Replies | None  # None where no measure needs any

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Its replies."""
        return self.replies.generations if self.replies is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything that an analysis reads, with the stages it stands in."""

    arms: tuple[SeededArm, ...]
    ends: tuple[SeededArm, ...]  # how replies ended, declared as a measure or not
    margins: tuple[SeededArm, ...]  # of measures whose rows have one beside the value
    cells: tuple[CellRows, ...]  # that came through
    lost: Mapping[str, str]  # cell → why it is missing
    prepared: StageResult
    prompts: Sequence[Prompt]
    scores: Mapping[Path, Mapping[str, tuple[Cell, ...]]]  # score table → name of replies in it → whose they are
    uses: Mapping[str, JudgeUse]  # measure → how its judge is used
    qualifications: tuple[Qualification, ...]
    compared: tuple[Comparison, ...]  # verdicts of the pairwise judges
    questions: tuple[Question, ...]  # declared contrasts on declared measures
    standing: tuple[Mapping[str, frozenset[str]], ...]  # by seed: arm → digests that stood declared while it replied
    absences: tuple[Absence, ...]  # what was given and is in no row
    remarks: Mapping[str, Mapping[str, Sequence[str]]]  # measure → arm → what is said beside its number
    results: Mapping[str, StageResult]  # task → its stage

    def of_arm(self, arm: str) -> list[CellRows]:
        """The cells of one arm, seed by seed."""
        return [found for found in self.cells if found.cell.arm == arm]

    def speaking(self, arm: str) -> list[CellRows]:
        """The cells of an arm that were asked: what is not trained speaks for all seeds."""
        cells = self.of_arm(arm)
        return cells if cells and cells[0].cell.adapter is not None else cells[:1]


def collect(
    session: Session, design: ExperimentDesign, plan: Plan, ran: Ran, *, results: Mapping[str, StageResult]
) -> Collected:
    """Read what the stages have left.

    Raises StageError: no arm came through, or what is taken over all of them failed.
    """
    lost = {cell.name: why for cell in plan.cells if (why := _loss(plan, cell, ran))}
    _require_some(design, plan, ran, lost)
    cells = _cell_rows(session, [cell for cell in plan.cells if cell.name not in lost], results)
    reader = _Reader(session=session, design=design, plan=plan, cells=cells, results=results)
    uses = reader.uses()
    qualifications = reader.qualifications(uses)
    uses = {name: use.under(qualifications) for name, use in uses.items()}
    taken = [n for n, m in design.measures.items() if m.judge is None and m.scores is None and n not in WEIGHINGS]
    order = {name: place for place, name in enumerate(design.measures)}
    of_losses = next((order[way] for way in WEIGHINGS if way in order), 0)
    arms = sorted([*reader.heldout(), *reader.measures(taken)], key=lambda arm: order.get(arm.measure, of_losses))
    absences = reader.unused()
    for name, declared in design.measures.items():
        if declared.scores is not None:
            imported = read_imported_run(session.tracking, name, declared.scores)
            given = reader.given(imported)
            arms += reader.seeded(name, {cell: imported.arm(name, scored) for cell, scored in given.items()})
            absences += reader.unmatched(name, imported, given)
    scores: dict[Path, dict[str, tuple[Cell, ...]]] = {}
    compared: dict[Path, Comparison] = {}
    for judge in plan.qualify:
        served = {name: use for name, use in uses.items() if design.measures[name].judge == judge}
        arms += reader.scored(judge, served)
        for task in reader.judged(judge):
            stage = results[task.key]
            scores[stage.folder / rows.SCORES] = owners = reader.owners(task, judge)
            if task.kind == "versus":
                arms_of = {name: cells[0].arm for name, cells in owners.items()}
                judge_id = next(iter(served.values())).judge_id
                compared[stage.folder] = Comparison(judge_id=judge_id, stage=stage, arms=arms_of)
                absences += reader.unpaired(task, measures=tuple(served))
    return Collected(
        arms=tuple(arms),
        ends=tuple(reader.measures(ENDS)),
        margins=tuple(reader.measures([n for n in taken if design.margin_of(n)], column="margin")),
        cells=cells,
        lost=lost,
        prepared=reader.prepared,
        prompts=reader.prompts,
        scores=scores,
        uses=uses,
        qualifications=qualifications,
        compared=tuple(compared.values()),
        questions=design.questions({found.cell.arm: found.variant.digest for found in cells}),
        standing=reader.standing(),
        absences=tuple(dict.fromkeys(absences)),
        remarks=reader.remarks(),
        results=results,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Measured rows by cell; a table is read once, whatever number of arms stands in it."""

    session: Session
    design: ExperimentDesign
    plan: Plan
    cells: tuple[CellRows, ...]
    results: Mapping[str, StageResult]

    @property
    def prepared(self) -> StageResult:
        """The data, with the same TEST prompts in every cell."""
        return self.results[self.cells[0].cell.prepared]

    @property
    def prompts(self) -> Sequence[Prompt]:
        """What every cell was asked."""
        return test_prompts(self.session, self.cells[0].cell.settings, self.prepared)

    def heldout(self) -> list[SeededArm]:
        """Held-out losses, weighed in both ways."""
        made = {
            each.cell.name: (each.variant.name, self.results[each.cell.heldout])
            for each in self.cells
            if each.cell.heldout is not None
        }
        found = {m: {cell: rows.heldout_arm(*of, measure=m) for cell, of in made.items()} for m in WEIGHINGS}
        return [arm for measure, of_cells in found.items() for arm in self.seeded(measure, of_cells)]

    def measures(self, wanted: Sequence[str], *, column: str = "value") -> list[SeededArm]:
        """Measures that need no judge: shipped ones from one table, each function from its own."""
        shipped = [name for name in wanted if name not in self.plan.own]
        found: dict[str, dict[str, MeasuredArm]] = {name: {} for name in wanted}
        if self.plan.shipped is not None and shipped:
            owners = self.owners(self.plan.tasks[self.plan.shipped])
            made = shipped_arms(self.results[self.plan.shipped], variants=tuple(owners), wanted=shipped)
            _place(found, made, owners)
        for name in (name for name in wanted if self.plan.own.get(name, "") in self.results):
            owners = self.owners(self.plan.tasks[self.plan.own[name]])
            made = own_arms(self.results[self.plan.own[name]], name, variants=tuple(owners), column=column)
            _place(found, made, owners)
        return [arm for name in wanted for arm in self.seeded(name, found[name])]

    def remarks(self) -> dict[str, dict[str, Sequence[str]]]:
        """What measures say beside the numbers of arms, of the first seed of each."""
        found: dict[str, dict[str, Sequence[str]]] = {}
        for measure, key in self.plan.own.items():
            owners = self.owners(self.plan.tasks[key]) if key in self.results else {}
            said = remarks_of(self.results[key]) if owners else {}
            for name, cells in owners.items():
                for cell in cells if name in said else ():
                    found.setdefault(measure, {}).setdefault(cell.arm, said[name])
        return found

    def uses(self) -> dict[str, JudgeUse]:
        """The judge of each measure that has one, knowing whose relative it judges."""
        uses = {}
        for name, declared in self.design.measures.items():
            if declared.judge is not None:
                task = self.plan.tasks[self.plan.qualify[declared.judge]]
                taught = self.results.get(task.needs.get(TAUGHT, ""))
                spec = with_head(self.session, load_judge_spec(Path(task.settings["judge"])), taught)
                families = [family_of_variant(found.variant, spec) for found in self.cells]
                uses[name] = judge_use(self.session, spec, criterion=declared.criterion or name, families=families)
        return uses

    def qualifications(self, uses: Mapping[str, JudgeUse]) -> tuple[Qualification, ...]:
        """The judges' controls on this corpus; where its data are TEST alone, the newest on record."""
        of_judge = {self.design.measures[name].judge: use for name, use in uses.items()}
        found: list[Qualification] = []
        for judge, key in self.plan.qualify.items():
            if key in self.results:
                found += read_qualifications(self.results[key].folder)
            else:
                found += qualifications_on_record(self.session, of_judge[judge])
        return tuple(found)

    def unused(self) -> list[Absence]:
        """Rows of the user's own files that are in no number."""
        found: list[Absence] = []
        if isinstance(self.design, EvaluationDesign) and self.design.data.file is not None:
            found += recorded.unused_rows(self.design.data.file, read_summary(self.prepared.folder).left_out)
        files = {c.cell.arm: replace(c.variant, name=c.cell.arm) for c in self.cells if c.variant.kind == "file"}
        test = prompts_of(self.prepared, "test") if files else ()
        return [*found, *recorded.unused_replies(files.values(), prompts=self.prompts, test=test)]

    def standing(self) -> tuple[Mapping[str, frozenset[str]], ...]:
        """For each seed, by arm: the digests that stood declared while its replies were generated."""
        by_seed: dict[int, dict[str, frozenset[str]]] = {}
        for found in self.cells:
            if found.replies is not None:
                tags = self.session.tracking.run(found.replies.stage.source_run_id).tags
                known = frozenset(tags.get("declaration", "").split())
                by_seed.setdefault(found.cell.seed, {})[found.cell.arm] = known
        return tuple(by_seed.values())

    def judged(self, judge: str) -> list[Task]:
        """A judge's tasks that came through: without the control there are no verdicts against it."""
        keys = dict.fromkeys(found.cell.judged[judge] for found in self.cells)
        return [self.plan.tasks[key] for key in keys if key in self.results]

    def scored(self, judge: str, served: Mapping[str, JudgeUse]) -> list[SeededArm]:
        """A judge's scores, for each measure that it serves."""
        by_measure: dict[str, dict[str, MeasuredArm]] = {name: {} for name in served}
        for task in self.judged(judge):
            owners = self.owners(task, judge)
            made = rows.score_arms(self.results[task.key], measures=served, variants=tuple(owners))
            _place(by_measure, made, owners)
        is_pairwise = any(use.spec.declared.compares for use in served.values())
        every = by_measure.items()
        return [arm for name, of in every for arm in self.seeded(name, of, is_against_control=is_pairwise)]

    def given(self, imported: ImportedRun) -> dict[str, Scored]:
        """By cell, what scores made elsewhere are of: under its arm's name, its own or that of its rows."""
        known = {score.variant for score in imported.scores}
        scored = {}
        for found in self.cells:
            is_only = found.cell.adapter is None or len(self.design.training_seeds) == 1
            names = [*([found.cell.arm] if is_only else []), found.cell.name, found.variant.name]
            name = next((name for name in names if name in known), names[0])
            if found.replies is not None:
                scored[found.cell.name] = scored_replies(name, found.replies)
            elif found.variant.kind == "scores":
                scored[found.cell.name] = imported.of_prompts(name, self.prompts)
        return scored

    def unmatched(self, measure: str, imported: ImportedRun, given: Mapping[str, Scored]) -> list[Absence]:
        """Scores made elsewhere that are of no reply, by the arm that they are said to be of."""
        arms_of = {given[of.cell.name].variant: of.cell.arm for of in self.cells if of.cell.name in given}
        lacking = recorded.unused_scores(measure, imported.scores, {of.variant: of for of in given.values()})
        return [replace(lost, variants=tuple(arms_of[variant] for variant in lost.variants)) for lost in lacking]

    def owners(self, task: Task, judge: str | None = None) -> dict[str, tuple[Cell, ...]]:
        """Names of replies in a table → whose they are; of a judge's, those that it was to be about."""
        owners: dict[str, tuple[Cell, ...]] = {}
        for found in self.cells:
            is_about = judge is None or found.cell.judged[judge] == task.key
            if is_about and found.replies is not None:
                name = self._names(task)[found.replies.stage.digest]
                owners[name] = (*owners.get(name, ()), found.cell)
        return owners

    def unpaired(self, task: Task, *, measures: tuple[str, ...]) -> tuple[Absence, ...]:
        """Replies that a pairwise judge did not see."""
        names = self._names(task)
        replies = {f.cell.arm: f.replies for f in self.cells if f.replies and f.replies.stage.digest in names}
        return recorded.unpaired_draws(replies, recorded.shared_draws(replies), measures=measures)

    def _names(self, task: Task) -> dict[str, str]:
        """Digest of a stage of replies → the name that they go by in a table."""
        inputs = self.results[task.key].inputs
        return {digest: role.removeprefix(f"{REPLIES} ") for role, digest in inputs.items()}

    def seeded(
        self, measure: str, found: Mapping[str, MeasuredArm], *, is_against_control: bool = False
    ) -> list[SeededArm]:
        """Arms of one measure in the declared order; one of which no seed came through is left out.

        Against a control that was trained anew for every seed, an arm that was not has other rows for each.
        """
        trained = {cell.arm for cell in self.plan.cells if cell.adapter is not None}
        seeded = []
        for arm in self.design.arm_names:
            cells = [cell for cell in self.plan.cells if cell.arm == arm]
            by_seed = {cell.seed: found[cell.name] for cell in cells if cell.name in found}
            if by_seed:
                is_trained = arm in trained or (is_against_control and self.design.control in trained)
                seeded.append(
                    SeededArm(
                        measure=measure,
                        arm=arm,
                        by_seed=by_seed,
                        is_trained=is_trained,
                        n_seeds_lost=len(cells) - len(by_seed),
                        judge_id=next(iter(by_seed.values())).judge_id,
                    )
                )
        return seeded


def _place(
    found: Mapping[str, dict[str, MeasuredArm]], made: Sequence[MeasuredArm], owners: Mapping[str, tuple[Cell, ...]]
) -> None:
    """Put what was read of a table to the measure and the cells that it is of."""
    for arm in made:
        found[arm.measure].update({cell.name: arm for cell in owners[arm.variant]})


def _loss(plan: Plan, cell: Cell, ran: Ran) -> str:
    """Why a cell is missing; empty where it came through."""
    own = plan.of_cell(cell)
    # The first in the plan's order is where it began; what stood on it failed with it.
    first = next((task for key, task in plan.tasks.items() if key in own and key in ran.failures), None)
    return "" if first is None else f"{first.label}: {ran.failures[first.key]}"


def _require_some(design: ExperimentDesign, plan: Plan, ran: Ran, lost: Mapping[str, str]) -> None:
    if len(lost) == len(plan.cells):
        name, why = next(iter(lost.items()))
        raise StageError(f"no arm of `{design.name}` came through, the first, `{name}`, because {why}")
    if plan.shipped in ran.failures:
        raise StageError(f"`{design.name}`: no reply could be measured: {ran.failures[plan.shipped]}")


def _cell_rows(session: Session, cells: Iterable[Cell], results: Mapping[str, StageResult]) -> tuple[CellRows, ...]:
    read: dict[str, Replies] = {}
    found = []
    for cell in cells:
        variant = variant_of(session, cell.settings, {role: results[key] for role, key in cell.needs.items()})
        if cell.generate is not None and cell.generate not in read:
            read[cell.generate] = rows.read_replies(variant.name, results[cell.generate])
        found.append(CellRows(cell=cell, variant=variant, replies=read.get(cell.generate or "")))
    return tuple(found)
