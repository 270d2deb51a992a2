"""From findings to the record of a report: who was compared, what they said, what it took, and what limits it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.experiment import ablation_parts as arms
from harness.experiment import record_parts as parts
from harness.experiment.analysis.contrasts import called, smallest_effect_in_units
from harness.experiment.analysis.trends_and_tails import quantile_rows, tail_rows, trend_rows
from harness.experiment.arms import AblationDesign
from harness.experiment.collect import Collected
from harness.experiment.design import ExperimentDesign, MeasureDesign
from harness.experiment.examples import examples_of, samples
from harness.experiment.judges.biases import bias_measures
from harness.experiment.plan import decoding_of
from harness.measures.catalogue import CATALOGUE, find_measure
from harness.measures.heldout import TOTAL
from harness.models.memory import peak_of_stages
from harness.reporting import record as records
from harness.reporting.ablation_record import AblationRecord, Work
from harness.reporting.numbers import write_count
from harness.store.artifacts import to_json
from harness.store.software_versions import versions
from harness.types import Grain

if TYPE_CHECKING:
    from harness.experiment.analyse import Found
    from harness.experiment.analysis.seeded import SeededArm
    from harness.experiment.graph import Plan
    from harness.experiment.session import Session

SELF_FAMILY_CAVEAT = (
    "The judge shares its model family with the variants, so its scores support no verdict here: verdicts rest on the "
    "held-out loss of human replies and on measures that need no judge."
)


def build_record(
    session: Session,
    design: ExperimentDesign,
    *,
    plan: Plan,
    collected: Collected,
    found: Found,
    profile: str | None,
    work: Work,
    run_id: str,
) -> records.ReportRecord:
    """Everything that a report shows, but for what is known of its declaration."""
    judges = tuple({use.row.judge_id: use.row for use in collected.uses.values()}.values())
    caveats = (design.caveat, SELF_FAMILY_CAVEAT if any(judge.is_self_family for judge in judges) else "")
    training = arms.trainings(session.tracking, plan, collected)
    n_seeds = len(design.training_seeds)
    noun = parts.cluster_noun(collected.prepared, design.kind)
    examples = examples_of(design, collected, noun)
    is_decoding_shared = all(decoding_of(design, arm) == design.decoding for arm in design.arm_names)
    return records.ReportRecord(
        title=design.name,
        question=design.question,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run_id,
        profile=profile or design.name,
        caveat=" ".join(caveat for caveat in caveats if caveat),
        findings=found.analysis.findings,
        absences=found.analysis.absences,
        contrasts=tuple(contrast.as_contrast() for contrast in design.contrasts),
        variants=tuple(
            _variant_row(design, collected, found, arm) for arm in design.arm_names if collected.of_arm(arm)
        ),
        measures=(*_measures(design, collected, found), *bias_measures(collected.uses)),
        primary=design.family.measures[0] if design.family.measures else None,
        decoding=design.decoding.as_decoding(seed=design.seed) if is_decoding_shared else None,
        judges=judges,
        qualifications=tuple(parts.called_as(found, noun) for found in collected.qualifications),
        distributions=tuple(
            records.distribution(arm.measure, arm.arm, _values(arm)) for arm in collected.arms if arm.measure != TOTAL
        ),
        curves=training.own_curves,
        samples=samples(design, collected, examples),
        sampling=examples.how + ("; each arm's first seed" if n_seeds > 1 else ""),
        missing=parts.missing_rows(collected),
        stages=parts.stage_lines(session.done, collected),
        data=parts.data_card(collected.prepared, design.kind, design.task_why),
        audit=training.audit,
        n_training_seeds=n_seeds if training.n_tokens else None,
        limitations=tuple(called(said, noun) for said in _limitations(design, collected, training)),
        config=to_json(design.model_dump(mode="json", by_alias=True)),
        versions=versions(),
        cost=records.Cost(
            seconds=sum(stage.seconds for stage in session.done) or work.wall_seconds,
            device=_device_name(),
            peak_bytes=peak_of_stages(session.tracking, session.done),
            n_train_tokens=training.n_tokens or None,
            note=f"{work.wall_seconds:.0f} s on the clock with {write_count(work.n_workers, 'worker')}",
        ),
        ablation=_ablation(design, plan, collected, found, training, work),
    )


def _ablation(
    design: ExperimentDesign, plan: Plan, collected: Collected, found: Found, training: arms.Trainings, work: Work
) -> AblationRecord | None:
    """What several arms and seeds show, and the tails and trends that were asked for."""
    if not isinstance(design, AblationDesign) and not design.trend and not design.tail:
        return None
    noun = parts.cluster_noun(collected.prepared, design.kind)
    return AblationRecord(
        factors=design.declared_factors if isinstance(design, AblationDesign) else (),
        fixed=arms.fixed(design),
        control=design.control,
        seeds=design.training_seeds,
        decision=design.decision,
        arms=arms.arm_rows(design, plan, collected, training),
        by_seed=found.analysis.by_seed,
        spreads=found.analysis.spreads,
        quantiles=quantile_rows(design, collected.arms, margins=collected.margins, rules=found.rules),
        tail=tuple(
            replace(row, note=called(row.note, noun))
            for row in tail_rows(design, collected.arms, margins=collected.margins, rules=found.rules)
        ),
        trends=tuple(
            replace(row, basis=called(row.basis, noun), note=called(row.note, noun))
            for row in trend_rows(design, collected.arms)
        ),
        curves=training.curves,
        work=work,
    )


def _measures(design: ExperimentDesign, collected: Collected, found: Found) -> list[records.Measure]:
    """What each measure means to a reader; a smallest effect may be a part of what the control shows."""
    control = {arm.measure: arm for arm in collected.arms if arm.arm == design.control}
    noun = parts.cluster_noun(collected.prepared, design.kind)
    shown = []
    for name, rule in found.rules.items():
        declared, judge = design.measures.get(name, MeasureDesign()), collected.uses.get(name)
        known = None if declared.scores is not None else find_measure(name, declared.measure)
        effect = rule.smallest_effect
        of_control = None if effect is None else control.get(name)
        description = judge.description if judge else known.description if known else "Imported scores."
        # A sentence of ours; what others say of their measures and judges stays as they say it.
        if known and not judge and known is CATALOGUE.get(name):
            description = called(description, noun)
        shown.append(
            records.Measure(
                name=name,
                label=known.label if known else name.replace("_", " ").capitalize(),
                unit=rule.unit,
                better=rule.better,
                description=description,
                smallest_effect=effect.as_effect() if effect else None,
                band=smallest_effect_in_units(effect, None if of_control is None else of_control.pooled()),
                grain=known.grain if known else Grain.REPLY,
                criterion=judge.criterion if judge else None,
                remarks=tuple(
                    f"{arm}: {called(' '.join(collected.remarks[name][arm]), noun)}"
                    for arm in design.arm_names
                    if arm in collected.remarks.get(name, {})
                ),
                phrase=known.phrase if known and not judge else None,
                meaning=known.meaning if known and not judge else None,
            )
        )
    return shown


def _variant_row(design: ExperimentDesign, collected: Collected, found: Found, arm: str) -> records.VariantRow:
    """An arm as a reader meets it, with how its replies ended and how many have no text."""
    cells = collected.speaking(arm)
    variant = cells[0].variant
    adapters = [label for cell in cells if (label := parts.adapter_label(cell.variant))]
    replies = [g for cell in cells for g in cell.generations]
    ends = found.ends.get(arm, {})
    return records.VariantRow(
        name=arm,
        description=parts.describe_variant(variant),
        base=arms.base_label(design, arm) or parts.base_name(variant),
        adapter=", ".join(adapters) or None,
        digest=variant.digest,
        n_generations=len(replies),
        cut_off=ends.get("cut_off"),
        no_text=ends.get("no_text"),
        n_missing=sum(g.is_missing for g in replies),
    )


def _values(arm: SeededArm) -> list[float | None]:
    """The rows of all seeds; those of an arm that is not trained stand once."""
    return [value for each in arm.speaking for value in each.rows.as_list()]


def _limitations(design: ExperimentDesign, collected: Collected, training: arms.Trainings) -> tuple[str, ...]:
    n, judges = len(design.training_seeds), collected.uses.values()
    bases = design.bases.values() if isinstance(design, AblationDesign) else ()
    few_seeds = (
        f"{n} training seeds: where seeds scatter more than films do, an interval is up to "
        f"{_width(n, design.family.level):.1f} times as wide as many seeds would give; where they hardly scatter, "
        "films decide."
        if 1 < n < 6
        else ""
    )
    said = {
        "The intervals speak of films like these: films were resampled, and what holds for other text is not known.":
            True,
        "One training run stands behind each adapter: the verdicts are about these adapters, not about the recipes "
        "behind them.": training.n_tokens and n == 1,
        few_seeds: training.n_tokens and few_seeds,
        "Each base was trained once and seeds vary the fine-tuning alone: a difference of bases holds the luck of "
        "one training of each.": any(base.pretrain is not None for base in bases),
        f"{len(collected.lost)} of the trainings failed and are missing; the rest was analysed.": collected.lost,
        **dict.fromkeys(training.caveats, True),
        **{
            f"{found.cell.arm} was asked without {', '.join(found.variant.without)}, which its server refuses: it "
            "draws otherwise.": found.variant.without
            for found in collected.cells
        },
        "The judge is of the variants' own family; models rate their own kind too high.":
            any(judge.row.is_self_family for judge in judges),
        "Controls show that a judge sees planted faults, not that it agrees with people.": collected.uses,
        "No judge supports a claim here: nothing is said about how people would like the replies.":
            all(judge.exploratory_reason for judge in judges),
        "One reply was drawn per prompt: the chance of the draw is part of every interval.":
            collected.ends and design.decoding.n_draws == 1 and design.decoding.temperature > 0,
    }  # fmt: skip
    return tuple(sentence for sentence, holds in said.items() if holds)


def _width(n_seeds: int, level: float) -> float:
    """How much wider n − 1 degrees of freedom make an interval than many would."""
    from harness.stats.intervals import t_quantile

    tail = 1 - (1 - level) / 2
    return t_quantile(tail, n_seeds - 1) / t_quantile(tail, float("inf"))


def _device_name() -> str:
    """What the work ran on, as printed."""
    import os

    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return f"{os.cpu_count()} CPU cores"
