"""The last stage: rows become findings, findings become the record that every report is drawn from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.experiment import record_parts as recording
from harness.experiment.analysis.absence import absent_replies
from harness.experiment.analysis.contrasts import (
    MeasuredArm,
    MeasureRule,
    label_films,
    smallest_effect_in_units,
)
from harness.experiment.analysis.seeded import SeededArm
from harness.experiment.analysis.seeds import Analysis, analyse_seeds
from harness.experiment.design import EvaluationDesign, MeasureDesign
from harness.experiment.judges.biases import REVISION as BIAS_REVISION
from harness.experiment.judges.biases import bias_findings, bias_measures
from harness.experiment.judges.judge_uses import JudgeUse
from harness.experiment.kinds import provider
from harness.experiment.measuring import Measured
from harness.experiment.questions import declared_late
from harness.experiment.session import OnProgress, Session
from harness.measures.catalogue import find_measure
from harness.measures.replies import is_cut_off, reply_status
from harness.models.memory import peak_of_stages
from harness.reporting import record as records
from harness.reporting.looks import PROMPTS_TAG, QUESTIONS_TAG, looks_at
from harness.reporting.render import read_record, write_report
from harness.reporting.runs import ANALYSIS, RECORD
from harness.stats import proportion_estimate
from harness.store.artifacts import read_json, to_json
from harness.store.provenance import versions
from harness.store.tracking import Stage, StageResult
from harness.types import Estimate, Generation, Grain, Variant

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord

REVISION = 7
N_SAMPLES = 8
# Variants and data enter the fingerprint by their digests, not by where they lie.
_ELSEWHERE: Any = {"profiles": True, "variants": True, "data": {"corpus", "file"}}
SELF_FAMILY_CAVEAT = (
    "The judge shares its model family with the variants, so its scores support no verdict here: verdicts rest on the "
    "held-out loss of human replies and on measures that need no judge."
)


def analyse_stage(
    session: Session,
    design: EvaluationDesign,
    *,
    measured: Measured,
    prepared: StageResult,
    began: float,
) -> ReportRecord:
    """Findings, record and report of an evaluation, as a stage of its own; every run of it is a look at TEST."""
    declaration = design.declaration_digest()
    test_digest = prepared.digest  # any draw from this TEST split is a look at it
    inputs = {f"{s.name}:{place}": s.digest for place, s in enumerate(session.done) if s.name != ANALYSIS}
    settings = design.model_dump(mode="json", by_alias=True, exclude=_ELSEWHERE)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        stage.set_tag(PROMPTS_TAG, test_digest)
        stage.set_tag(QUESTIONS_TAG, " ".join(question.digest for question in measured.questions))
        found = _analysis(design, measured, prepared)
        record = _record(session, design, measured, prepared, found, run_id=stage.run_id, began=began)
        late = declared_late(measured.questions, declaration=declaration, standing=[measured.declarations])
        looks = looks_at(session.tracking, test_digest)
        record = replace(
            record,
            declaration=recording.declaration(measured.questions, late, looks, digest=declaration, run_id=stage.run_id),
        )
        write_report(record, stage.folder)
        log_findings(stage, record)

    config: dict[str, Any] = {"design": settings, "variants": {n: v.digest for n, v in measured.variants.items()}}
    if measured.compared:
        config["biases"] = BIAS_REVISION  # reports without a pairwise judge stand as they are
    result = session.stage(
        ANALYSIS,
        label="Estimate and report",
        revision=REVISION,
        config=config,
        inputs=inputs,
        work=work,
        tags={"declaration": declaration},
    )
    return read_record(result.folder / RECORD)


def measure_rules(measures: Mapping[str, MeasureDesign], judges: Mapping[str, JudgeUse]) -> dict[str, MeasureRule]:
    """How each measure is read, and what it may claim."""
    rules = {}
    for name, declared in measures.items():
        judge, known = judges.get(name), find_measure(name, declared.measure)
        is_ours = known is not None and judge is None and declared.scores is None
        rules[name] = MeasureRule(
            name=name,
            unit=judge.unit if judge else known.unit if known else "",
            better=declared.better or (known.better if known else None),
            smallest_effect=declared.smallest_effect,
            is_rate=judge.is_share if judge else is_ours and known is not None and known.is_rate,
            is_share=judge.is_share if judge else is_ours and known is not None and known.unit == "share",
            needs_reference=is_ours and known is not None and known.origin == "heldout",
            exploratory_reason=judge.exploratory_reason if judge else "",
        )
    return rules


def shown_measures(
    measures: Mapping[str, MeasureDesign], judges: Mapping[str, JudgeUse], *, control: Mapping[str, MeasuredArm]
) -> tuple[records.Measure, ...]:
    """What each measure means to a reader; a smallest effect may be a part of what `control` shows."""
    rules, shown = measure_rules(measures, judges), []
    for name, rule in rules.items():
        known, judge, effect = find_measure(name, measures[name].measure), judges.get(name), rule.smallest_effect
        shown.append(
            records.Measure(
                name=name,
                label=known.label if known else name.replace("_", " ").capitalize(),
                unit=rule.unit,
                better=rule.better,
                description=judge.description if judge else known.description if known else "Imported scores.",
                smallest_effect=effect.noun() if effect else None,
                band=smallest_effect_in_units(effect, control.get(name)),
                grain=known.grain if known else Grain.REPLY,
                criterion=judge.criterion if judge else None,
            )
        )
    return tuple(shown)


def of_replies(measures: Mapping[str, MeasureDesign]) -> tuple[str, ...]:
    """The declared measures that need replies with text: not the loss of human ones, not the share without text."""
    return tuple(name for name in measures if name not in ("heldout_loss", "no_text"))


def _analysis(design: EvaluationDesign, measured: Measured, prepared: StageResult) -> Analysis:
    silent = [
        absence
        for name, replies in measured.replies.items()
        for absence in absent_replies(name, replies.generations, measures=of_replies(design.measures))
    ]
    found = analyse_seeds(
        [SeededArm.of(arm) for arm in measured.arms],
        rules=measure_rules(design.measures, measured.judges),
        contrasts=design.contrasts,
        control=design.control,
        family=design.family,
        min_clusters=design.data.min_clusters,
        seed=design.seed,
        variants=tuple(design.variants),
        absences=(*silent, *measured.absences),
    )
    biases = bias_findings(measured.judges, measured.compared, seed=design.seed, level=design.family.level)
    notes = tuple(read_json(prepared.folder / "summary.json")["notes"])
    return replace(found, findings=label_films(found.findings, notes) + biases)


def _record(
    session: Session,
    design: EvaluationDesign,
    measured: Measured,
    prepared: StageResult,
    found: Analysis,
    *,
    run_id: str,
    began: float,
) -> ReportRecord:
    generations = {name: replies.generations for name, replies in measured.replies.items()}
    facts = [recording.training_facts(session.tracking, v) for v in measured.variants.values()]
    is_trained = any(fact.n_tokens for fact in facts)
    judges = tuple({judge.row.judge_id: judge.row for judge in measured.judges.values()}.values())
    return records.ReportRecord(
        title=design.name,
        question=design.question,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run_id,
        profile=design.name,
        caveat=SELF_FAMILY_CAVEAT if any(judge.is_self_family for judge in judges) else "",
        findings=found.findings,
        absences=found.absences,
        contrasts=tuple(contrast.noun() for contrast in design.contrasts),
        variants=tuple(
            variant_row(name, variant, generations[name], level=design.family.level)
            for name, variant in measured.variants.items()
        ),
        measures=shown_measures(
            design.measures,
            measured.judges,
            control={arm.measure: arm for arm in measured.arms if arm.variant == design.control},
        )
        + bias_measures(measured.judges),
        primary=design.family.measures[0] if design.family.measures else None,
        decoding=design.decoding.noun(seed=design.seed),
        judges=judges,
        qualifications=measured.qualifications,
        distributions=tuple(
            records.distribution(arm.measure, arm.variant, arm.rows.as_list()) for arm in measured.arms
        ),
        curves=tuple(fact.curve for fact in facts if fact.curve is not None),
        samples=recording.samples(
            measured.prompts,
            generations,
            measured.scores.of_prompts([prompt.id for prompt in measured.prompts[:N_SAMPLES]]),
            film_titles=recording.titles(prepared),
            n=N_SAMPLES,
        ),
        sampling=f"the first {N_SAMPLES} prompts of a draw that takes films in turn, seed {design.seed}",
        missing=recording.missing_rows(generations, measured.scores.lost())
        + recording.missing_references(measured.arms),
        stages=recording.stage_lines(session.done),
        data=recording.data_card(prepared),
        audit=provider().training_audit(session.tracking, measured.variants.values(), prepared=prepared),
        n_training_seeds=1 if is_trained else None,
        limitations=_limitations(design, measured, facts),
        config=to_json(design.model_dump(mode="json", by_alias=True)),
        versions=versions(),
        cost=_cost(session, facts, began),
    )


def log_findings(stage: Stage, record: ReportRecord) -> None:
    """Every number that there is as a metric of the run."""
    for finding in record.findings:
        if math.isfinite(finding.estimate.value):
            stage.log_metric(f"{finding.name}/{finding.variant or finding.contrast}", finding.estimate.value)


def variant_row(name: str, variant: Variant, replies: Sequence[Generation], *, level: float) -> records.VariantRow:
    """A variant as a reader meets it, with how its replies ended and how many have no text."""
    cut_off = [(value, g.cluster) for g in replies if (value := is_cut_off(g)) is not None]
    silent = [(float(reply_status(g) != "ok"), g.cluster) for g in replies]
    return records.VariantRow(
        name=name,
        description=recording.describe_variant(variant),
        base=recording.base_name(variant),
        adapter=recording.adapter_label(variant),
        digest=variant.digest,
        n_generations=len(replies),
        cut_off=_share(cut_off, n_missing=len(replies) - len(cut_off), level=level),
        no_text=_share(silent, n_missing=0, level=level),
        n_missing=sum(g.is_missing for g in replies),
    )


def _share(rows: Sequence[tuple[float, str]], *, n_missing: int, level: float) -> Estimate | None:
    if not rows:
        return None
    hits, films = zip(*rows, strict=True)
    return proportion_estimate(hits, clusters=films, level=level, n_missing=n_missing)


def _limitations(design: EvaluationDesign, measured: Measured, facts: list[recording.TrainingFacts]) -> tuple[str, ...]:
    said = [
        "The intervals speak of films like these: films were resampled, and what holds for other text is not known.",
    ]
    if any(fact.n_tokens for fact in facts):
        said.append("One training run stands behind each adapter: the verdicts are about these adapters.")
    said += [caveat for fact in facts for caveat in fact.caveats]
    said += [
        f"{name} was asked without {', '.join(variant.without)}, which its server refuses: it draws otherwise."
        for name, variant in measured.variants.items()
        if variant.without
    ]
    if any(judge.row.is_self_family for judge in measured.judges.values()):
        said.append("The judge is of the variants' own family; models rate their own kind too high.")
    if measured.judges:
        said.append("Controls show that a judge sees planted faults, not that it agrees with people.")
    if not any(judge.can_claim for judge in measured.judges.values()):
        said.append("No judge supports a claim here: nothing is said about how people would like the replies.")
    if design.decoding.n_draws == 1 and design.decoding.temperature > 0:
        said.append("One reply was drawn per prompt: the chance of the draw is part of every interval.")
    return tuple(said)


def _cost(session: Session, facts: list[recording.TrainingFacts], began: float) -> records.Cost:
    work = sum(stage.seconds for stage in session.done) or time.perf_counter() - began
    return records.Cost(
        seconds=work,
        device=device_name(),
        peak_bytes=peak_of_stages(session.tracking, session.done),
        n_train_tokens=sum(f.n_tokens or 0 for f in facts) or None,
    )


def device_name() -> str:
    """What the work ran on, as printed."""
    import os

    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return f"{os.cpu_count()} CPU cores"
