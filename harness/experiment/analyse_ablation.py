"""The last stage of an ablation: arms × seeds become findings, findings become the record of its report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.experiment import ablation_parts as portrait
from harness.experiment import record_parts as recording
from harness.experiment.analyse import (
    SELF_FAMILY_CAVEAT,
    device_name,
    log_findings,
    measure_rules,
    of_replies,
    shown_measures,
    variant_row,
)
from harness.experiment.analysis.absence import absent_replies
from harness.experiment.analysis.contrasts import label_films
from harness.experiment.analysis.seeds import analyse_seeds
from harness.experiment.analysis.trends_and_tails import quantile_rows, tail_row, trend_rows
from harness.experiment.arms import AblationDesign
from harness.experiment.collect import CellRows, Collected, generations_of
from harness.experiment.plan import Plan
from harness.experiment.questions import declared_late
from harness.experiment.session import OnProgress, Session
from harness.models.memory import peak_of_stages
from harness.reporting import record as records
from harness.reporting.ablation_record import AblationRecord, Work
from harness.reporting.looks import PROMPTS_TAG, QUESTIONS_TAG, looks_at
from harness.reporting.numbers import write_count
from harness.reporting.render import read_record, write_report
from harness.reporting.runs import ANALYSIS, RECORD
from harness.store.artifacts import read_json, to_json
from harness.store.provenance import versions
from harness.store.tracking import Stage
from harness.types import Absence

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord

REVISION = 7
N_SAMPLES = 6


def analyse_ablation(
    session: Session,
    design: AblationDesign,
    *,
    plan: Plan,
    collected: Collected,
    profile: str | None,
    work: Work,
) -> ReportRecord:
    """Findings, record and report of an ablation, as a stage of its own; every run of it is a look at TEST."""
    declaration = design.declaration_digest()
    prepared = next(collected.results[c.cell.prepared] for c in collected.cells)
    inputs = {f"{s.name}:{place}": s.digest for place, s in enumerate(session.done)}
    settings = design.model_dump(mode="json", by_alias=True, exclude={"profiles": True, "data": {"corpus"}})

    def analyse(stage: Stage, on_progress: OnProgress) -> None:
        questions = design.questions()
        stage.set_tag(PROMPTS_TAG, prepared.digest)
        stage.set_tag(QUESTIONS_TAG, " ".join(question.digest for question in questions))
        record = _record(session, design, plan, collected, profile=profile, work=work, run_id=stage.run_id)
        late = declared_late(questions, declaration=declaration, standing=_standing(session, collected))
        looks = looks_at(session.tracking, prepared.digest)
        standing = recording.declaration(questions, late, looks, digest=declaration, run_id=stage.run_id)
        record = replace(record, declaration=standing)
        write_report(record, stage.folder)
        log_findings(stage, record)

    result = session.stage(
        ANALYSIS,
        label="Estimate and report",
        revision=REVISION,
        config={"design": settings, "lost": dict(collected.lost)},
        inputs=inputs,
        work=analyse,
        tags={"declaration": declaration},
    )
    return read_record(result.folder / RECORD)


def _record(
    session: Session,
    design: AblationDesign,
    plan: Plan,
    collected: Collected,
    *,
    profile: str | None,
    work: Work,
    run_id: str,
) -> ReportRecord:
    rules = measure_rules(design.measures, collected.uses)
    analysis = analyse_seeds(
        collected.arms,
        rules=rules,
        contrasts=design.contrasts,
        control=design.control,
        family=design.family,
        min_clusters=design.test.min_clusters,
        seed=design.seed,
        variants=tuple(design.arms),
        absences=_absences(design, plan, collected),
    )
    prepared = next(collected.results[c.cell.prepared] for c in collected.cells)
    findings = label_films(analysis.findings, tuple(read_json(prepared.folder / "summary.json")["notes"]))
    is_trained = any(found.variant.adapter is not None for found in collected.cells)
    judges = tuple({use.row.judge_id: use.row for use in collected.uses.values()}.values())
    shown = _shown_cells(design, collected)
    generations = {found.cell.arm: generations_of(found) for found in shown if generations_of(found)}
    sampled = [prompt.id for prompt in collected.prompts[:N_SAMPLES]]
    scores = [
        replace(score, variant=found.cell.arm)
        for found in shown
        for score in collected.scores[found.cell.name].of_prompts(sampled)
    ]
    self_family = SELF_FAMILY_CAVEAT if any(use.is_self_family for use in collected.uses.values()) else ""
    training = portrait.trainings(session.tracking, plan, collected)
    return records.ReportRecord(
        title=design.name,
        question=design.question,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run_id,
        profile=profile or design.name,
        caveat=" ".join(part for part in (design.caveat, self_family) if part),
        findings=findings,
        absences=analysis.absences,
        contrasts=tuple(contrast.noun() for contrast in design.contrasts),
        variants=tuple(_variant_row(design, collected, arm) for arm in design.arms if collected.of_arm(arm)),
        measures=shown_measures(
            design.measures,
            collected.uses,
            control={arm.measure: arm.pooled() for arm in collected.arms if arm.arm == design.control},
        ),
        primary=design.family.measures[0] if design.family.measures else None,
        decoding=None if any(f.startswith("decoding.") for f in design.declared_factors) else portrait.decoding(design),
        judges=judges,
        qualifications=collected.qualifications,
        distributions=tuple(
            records.distribution(arm.measure, arm.arm, [row.value for row in arm.pooled().rows])
            for arm in collected.arms
        ),
        samples=recording.samples(
            collected.prompts, generations, scores, film_titles=recording.titles(prepared), n=N_SAMPLES
        )
        if generations
        else (),
        sampling=f"The first {N_SAMPLES} of the prompts that were drawn; each arm's first seed.",
        missing=portrait.missing(collected),
        stages=recording.stage_lines(session.done),
        data=recording.data_card(prepared),
        audit=training.audit,
        n_training_seeds=len(design.seeds) if is_trained else None,
        limitations=_limitations(design, collected, is_trained=is_trained) + training.caveats,
        config=to_json(design.model_dump(mode="json", by_alias=True)),
        versions=versions(),
        cost=records.Cost(
            seconds=work.stage_seconds,
            device=device_name(),
            peak_bytes=peak_of_stages(session.tracking, session.done),
            n_train_tokens=training.n_tokens or None,
            note=f"{work.wall_seconds:.0f} s on the clock with {write_count(work.n_workers, 'worker')}",
        ),
        ablation=AblationRecord(
            factors=design.declared_factors,
            fixed=portrait.fixed(design),
            control=design.control,
            seeds=design.seeds,
            decision=design.decision,
            arms=portrait.arm_rows(design, plan, collected, training),
            by_seed=analysis.by_seed,
            spreads=analysis.spreads,
            quantiles=quantile_rows(design, collected.arms, rules=rules),
            tail=tail_row(design, collected.arms, rules=rules),
            trends=trend_rows(design, collected.arms),
            curves=training.curves,
            work=work,
        ),
    )


def _absences(design: AblationDesign, plan: Plan, collected: Collected) -> tuple[Absence, ...]:
    """Trainings that failed, and arms that say nothing with a seed; the base as it is speaks for all its seeds."""
    arms = {cell.name: cell.arm for cell in plan.cells}
    lost = [
        Absence(kind="failed", said=f"`{name}` was declared and is missing: {why}", variants=(arms[name],))
        for name, why in collected.lost.items()
    ]
    silent = [
        replace(absence, variants=(found.cell.arm,))
        for arm in design.arms
        for found in _speaking(collected, arm)
        for absence in absent_replies(found.cell.name, generations_of(found), measures=of_replies(design.measures))
    ]
    return (*lost, *silent)


def _speaking(collected: Collected, arm: str) -> list[CellRows]:
    """The cells of an arm that came through; the base as it is was asked once."""
    cells = collected.of_arm(arm)
    return cells if cells and cells[0].variant.adapter is not None else cells[:1]


def _shown_cells(design: AblationDesign, collected: Collected) -> list[CellRows]:
    """One cell an arm: its first seed that came through."""
    return [cells[0] for arm in design.arms if (cells := collected.of_arm(arm))]


def _variant_row(design: AblationDesign, collected: Collected, arm: str) -> records.VariantRow:
    cells = _speaking(collected, arm)
    adapters = [label for cell in cells if (label := recording.adapter_label(cell.variant))]
    replies = [g for cell in cells for g in generations_of(cell)]
    row = variant_row(arm, cells[0].variant, replies, level=design.family.level)
    return replace(row, base=_base_label(design, arm) or row.base, adapter=", ".join(adapters) or None)


def _base_label(design: AblationDesign, arm: str) -> str:
    """A base that was trained here, by its name in the file; empty for one that has a name of its own."""
    named = design.settings_of(arm).get("base")
    is_own = named in design.bases and design.bases[named].pretrain is not None
    return f"{named}, trained here from nothing" if is_own else ""


def _standing(session: Session, collected: Collected) -> list[dict[str, frozenset[str]]]:
    """For each seed, by arm: the digests that stood declared while its replies were generated."""
    by_seed: dict[int, dict[str, frozenset[str]]] = {}
    for found in collected.cells:
        if found.replies is not None:
            tags = session.tracking.run(found.replies.stage.source_run_id).tags
            by_seed.setdefault(found.cell.seed, {})[found.cell.arm] = frozenset(tags.get("declaration", "").split())
    return list(by_seed.values())


def _limitations(design: AblationDesign, collected: Collected, *, is_trained: bool) -> tuple[str, ...]:
    n = len(design.seeds)
    said = ["The intervals speak of films like these: films were resampled, and other text is not known."]
    if is_trained and n == 1:
        said.append("One training seed: the verdicts are about these adapters, not about the recipes behind them.")
    elif is_trained and n < 6:
        said.append(
            f"{n} training seeds: where seeds scatter more than films do, an interval is up to "
            f"{_width(n, design.family.level):.1f} times as wide as many seeds would give; where they hardly scatter, "
            "films decide."
        )
    if any(base.pretrain is not None for base in design.bases.values()):
        said.append(
            "Each base was trained once and seeds vary the fine-tuning alone: a difference of bases holds the luck of "
            "one training of each."
        )
    if collected.lost:
        said.append(f"{len(collected.lost)} of the trainings failed and are missing; the rest was analysed.")
    if any(use.row.is_self_family for use in collected.uses.values()):
        said.append("The judge is of the arms' own family; models rate their own kind too high.")
    if collected.uses:
        said.append("Controls show that a judge sees planted faults, not that it agrees with people.")
    if not any(use.can_claim for use in collected.uses.values()):
        said.append("No judge supports a claim here: nothing is said about how people would like the replies.")
    return tuple(said)


def _width(n_seeds: int, level: float) -> float:
    """How much wider n − 1 degrees of freedom make an interval than many would."""
    from harness.stats.intervals import t_quantile

    tail = 1 - (1 - level) / 2
    return t_quantile(tail, n_seeds - 1) / t_quantile(tail, float("inf"))
