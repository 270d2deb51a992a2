"""The last stage: rows become findings, findings become the record that every report is drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiment import record_parts as parts
from harness.experiment.analysis.absence import absent_replies
from harness.experiment.analysis.contrasts import MeasureRule, label_clusters
from harness.experiment.analysis.seeds import Analysis, analyse_seeds
from harness.experiment.design import EffectDesign, ExperimentDesign, MeasureDesign
from harness.experiment.judges.biases import REVISION as BIAS_REVISION
from harness.experiment.judges.biases import bias_findings
from harness.experiment.judges.judge_uses import JudgeUse
from harness.experiment.questions import declared_late
from harness.experiment.record_builder import build_record
from harness.experiment.session import OnProgress, Session
from harness.measures.catalogue import find_measure
from harness.measures.heldout import WEIGHINGS
from harness.measures.measure import Measure
from harness.reporting.finished_reports import ANALYSIS, RECORD
from harness.reporting.looks import PROMPTS_TAG, QUESTIONS_TAG, looks_at
from harness.reporting.render import read_record, write_report
from harness.store.artifacts import read_json
from harness.store.prompt_registry import log_prompts
from harness.store.stage_log import Stage
from harness.types import Absence, Estimate

if TYPE_CHECKING:
    from harness.experiment.collect import Collected
    from harness.experiment.graph import Plan
    from harness.reporting.ablation_record import Work
    from harness.reporting.record import ReportRecord

REVISION = 9
# Variants and data enter the fingerprint by their digests, not by where they lie.
_ELSEWHERE: Any = {"profiles": True, "variants": True, "data": {"corpus", "file"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an experiment's rows give."""

    rules: Mapping[str, MeasureRule]
    analysis: Analysis
    ends: Mapping[str, Mapping[str, Estimate]]  # arm → share of its replies that were cut off, and without text


def analyse_stage(
    session: Session, design: ExperimentDesign, *, plan: Plan, collected: Collected, profile: str | None, work: Work
) -> ReportRecord:
    """Findings, record and report of an experiment, as a stage of its own; every run of it is a look at TEST."""
    declaration = design.declaration_digest()
    test_digest = collected.prepared.digest  # any draw from this TEST split is a look at it
    inputs = {f"{s.name}:{place}": s.digest for place, s in enumerate(session.done) if s.name != ANALYSIS}
    config: dict[str, Any] = {
        "design": design.model_dump(mode="json", by_alias=True, exclude=_ELSEWHERE),
        "variants": {found.cell.name: found.variant.digest for found in collected.cells},
        "lost": dict(collected.lost),
    }
    if collected.compared:
        config["biases"] = BIAS_REVISION

    def estimate(stage: Stage, on_progress: OnProgress) -> None:
        stage.set_tag(PROMPTS_TAG, test_digest)
        stage.set_tag(QUESTIONS_TAG, " ".join(question.digest for question in collected.questions))
        found = findings_of(design, plan, collected)
        record = build_record(
            session, design, plan=plan, collected=collected, found=found, profile=profile, work=work,
            run_id=stage.run_id,
        )  # fmt: skip
        late = declared_late(collected.questions, declaration=declaration, standing=collected.standing)
        looks = looks_at(session.tracking, test_digest)
        standing = parts.declaration(collected.questions, late, looks, digest=declaration, run_id=stage.run_id)
        record = replace(record, declaration=standing)
        write_report(record, stage.folder)
        _log_findings(stage, record)
        tracking = session.tracking
        if 0 < len(collected.prompts) <= tracking.settings.n_traces and record.data is not None:
            with tracking.claimed_process():
                experiment = tracking.client.get_run(stage.run_id).info.experiment_id
                log_prompts(tracking.client, experiment, collected.prompts, corpus=Path(record.data.corpus).name)

    result = session.stage(
        ANALYSIS,
        label="Estimate and report",
        revision=REVISION,
        config=config,
        inputs=inputs,
        work=estimate,
        tags={"declaration": declaration},
    )
    record = read_record(result.folder / RECORD)
    if session.parent is not None:  # the command's own run too, which may have reused all of this
        _log_findings(Stage(session.tracking, session.parent, result.folder), record)
    return record


def findings_of(design: ExperimentDesign, plan: Plan, collected: Collected) -> Found:
    """Numbers of every arm and contrast, and what is missing among them."""
    rules = measure_rules(_weighed(design.measures), collected.uses)
    shared: dict[str, Any] = {
        "control": design.control,
        "family": design.family,
        "min_clusters": design.asked.min_clusters,
        "seed": design.seed,
    }
    analysis = analyse_seeds(
        collected.arms, rules=rules, contrasts=design.contrasts, variants=design.arm_names,
        absences=_absences(design, plan, collected), **shared,
    )  # fmt: skip
    biases = bias_findings(collected.uses, collected.compared, seed=design.seed, level=design.family.level)
    notes = tuple(read_json(collected.prepared.folder / "summary.json")["notes"])
    noun = parts.cluster_noun(collected.prepared, design.kind)
    findings = label_clusters(analysis.findings, notes, noun=noun) + biases
    names = dict.fromkeys(arm.measure for arm in collected.ends)
    ended = analyse_seeds(
        collected.ends, rules=measure_rules({name: MeasureDesign() for name in names}, {}), contrasts=(),
        variants=(), **shared,
    )  # fmt: skip
    ends: dict[str, dict[str, Estimate]] = {}
    for finding in ended.findings:
        if finding.estimate.n:
            ends.setdefault(finding.variant or "", {})[finding.name] = finding.estimate
    return Found(rules=rules, analysis=replace(analysis, findings=findings), ends=ends)


def _weighed(measures: Mapping[str, MeasureDesign]) -> dict[str, MeasureDesign]:
    """The measures, and of held-out loss also the way to weigh it that was not declared."""
    every = {}
    for name, declared in measures.items():
        every[name] = declared
        effect = declared.smallest_effect
        same = effect if effect is not None and effect.unit == "bits_per_byte" else None
        other = MeasureDesign(smallest_effect=same)
        every |= {way: other for way in WEIGHINGS if name in WEIGHINGS and way not in measures}
    return every


def measure_rules(measures: Mapping[str, MeasureDesign], judges: Mapping[str, JudgeUse]) -> dict[str, MeasureRule]:
    """How each measure is read, and what it may claim."""
    rules = {}
    for name, declared in measures.items():
        judge = judges.get(name)
        method = judge.spec.declared if judge else None
        known = None if declared.scores is not None else find_measure(name, declared.measure)
        is_ours = known is not None and judge is None
        rules[name] = MeasureRule(
            name=name,
            unit=method.unit if method else known.unit if known else "share" if declared.is_rate else "",
            better=declared.better or (known.better if known else None),
            smallest_effect=declared.smallest_effect or _own_effect(known if is_ours else None),
            is_rate=judge.spec.declared.is_share
            if judge
            else declared.is_rate or (known is not None and known.is_rate),
            is_share=method.is_share if method else is_ours and known is not None and known.unit == "share",
            needs_reference=is_ours and known is not None and known.needs_reference,
            exploratory_reason=judge.exploratory_reason if judge else "",
        )
    return rules


def _own_effect(measure: Measure | None) -> EffectDesign | None:
    effect = None if measure is None else measure.smallest_effect
    return None if effect is None else EffectDesign(value=effect.value, unit=effect.unit)


def _absences(design: ExperimentDesign, plan: Plan, collected: Collected) -> tuple[Absence, ...]:
    """Trainings that failed, arms that say nothing with a seed, and what was given and is in no row."""
    lost = [
        Absence(kind="failed", said=f"`{cell.name}` was declared and is missing: {why}", variants=(cell.arm,))
        for cell in plan.cells
        if (why := collected.lost.get(cell.name))
    ]
    # The loss of human replies needs none of the arm's own; some measures count those without text.
    counting = {name for name in design.measures if (known := find_measure(name)) and known.silence is not None}
    measures = [name for name in design.measures if name not in (*WEIGHINGS, "no_text", *counting)]
    silent = [
        replace(absence, variants=(arm,))
        for arm in design.arm_names
        for found in collected.speaking(arm)
        for absence in absent_replies(found.cell.name, found.generations, measures=measures)
    ]
    return (*lost, *silent, *collected.absences)


def _log_findings(stage: Stage, record: ReportRecord) -> None:
    """Every number that there is as a metric of the run."""
    for finding in record.findings:
        if math.isfinite(finding.estimate.value):
            stage.log_metric(f"{finding.name}/{finding.variant or finding.contrast}", finding.estimate.value)
    stage.write_points()
