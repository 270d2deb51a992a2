"""The parts of an ablation's record that are not estimates: arms, what is held still, trainings, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.experiment import record_parts as recording
from harness.experiment.arms import OWN_VALUE, AblationDesign
from harness.experiment.collect import Collected, generations_of
from harness.experiment.kinds import provider, stage_kind
from harness.experiment.plan import Plan, is_read, stages_of
from harness.reporting.ablation_record import ArmCurves, ArmRow, Setting
from harness.reporting.record import AuditRow, MissingRow
from harness.reporting.traces import LossCurve
from harness.store.artifacts import read_json
from harness.store.tracking import Tracking
from harness.types import Decoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """What the trainings under an ablation left behind."""

    curves: tuple[ArmCurves, ...]
    audit: tuple[AuditRow, ...]
    caveats: tuple[str, ...]  # what pairs could teach beside quality, of each arm's first seed
    n_tokens: int  # of distinct trainings
    by_task: Mapping[str, int]  # tokens of each


def decoding(design: AblationDesign) -> Decoding:
    """How replies are drawn in every arm."""
    return design.decoding.noun(seed=design.seed)


def fixed(design: AblationDesign) -> tuple[Setting, ...]:
    """What every arm shares, as declared."""
    recipes = {kind: path for kind, path in design.recipes.items() if path is not None}
    shown: dict[str, Any] = {
        **{f"recipe {kind}": str(path).rsplit("/", 1)[-1] for kind, path in recipes.items()},
        **design.fixed,
        **{f"pairs.{key}": value for key, value in design.pairs.items()},
        "TEST prompts": design.test.prompts,
        "prompts for held-out loss": max(design.test.heldout_prompts or 0, design.test.prompts),
        "new tokens": design.decoding.max_new_tokens,
        "temperature": design.decoding.temperature,
    }
    keys = [key for key in shown if f"decoding.{'max_new_tokens' if key == 'new tokens' else key}" not in
            design.declared_factors]  # fmt: skip
    return tuple(Setting(key=key, value=written(shown[key])) for key in keys)


def arm_rows(design: AblationDesign, plan: Plan, collected: Collected, trainings: Trainings) -> tuple[ArmRow, ...]:
    """What makes each arm different, and what it took."""
    users = plan.users()
    rows = []
    for arm in design.arms:
        cells = [cell for cell in plan.cells if cell.arm == arm]
        tasks = {key: task for cell in cells for key, task in plan.of_cell(cell).items() if key in collected.results}
        own = [key for key in tasks if all(cell.arm == arm for cell in users[key])]
        settings = design.settings_of(arm)
        n_lost = sum(cell.name in collected.lost for cell in cells)
        adapters = [recording.adapter_label(found.variant) for found in collected.of_arm(arm)]
        rows.append(
            ArmRow(
                name=arm,
                settings=tuple(
                    Setting(key=key, value=_shown(key, settings, stages_of(design, arm)))
                    for key in design.declared_factors
                ),
                stages=", ".join(stage_kind(stage).words for stage in stages_of(design, arm)) or "none",
                n_seeds=len(cells) - n_lost,
                n_lost=n_lost,
                seconds=sum(collected.results[key].seconds for key in tasks),
                own_seconds=sum(collected.results[key].seconds for key in own),
                n_train_tokens=sum(trainings.by_task.get(key, 0) for key in tasks) or None,
                adapters=tuple(dict.fromkeys(label for label in adapters if label)),
            )
        )
    return tuple(rows)


def trainings(tracking: Tracking, plan: Plan, collected: Collected) -> Trainings:
    """Curves by arm and stage, a seed each, and the checks of every adapter."""
    by_task: dict[str, int] = {}
    curves: dict[tuple[str, str], list[LossCurve]] = {}
    for cell in plan.cells:
        for key, task in plan.of_cell(cell).items():
            kind = stage_kind(task.kind)
            if kind.record is not None and key in collected.results:
                record = read_json(collected.results[key].folder / kind.record)
                by_task[key] = int(record.get("n_tokens") or 0)
                if cell.name not in collected.lost:
                    curve = recording.loss_curve(record, name=f"seed {cell.seed}", unit=kind.loss)
                    curves.setdefault((cell.arm, kind.words), []).append(curve)
    # Arms that differ after the training share an adapter: it is checked once, under the first of them.
    variants = {
        found.variant.adapter.digest: replace(found.variant, name=found.cell.name)
        for found in reversed(collected.cells)
        if found.variant.adapter is not None
    }
    prepared = next((collected.results[found.cell.prepared] for found in collected.cells), None)
    audit = (
        () if prepared is None else provider().training_audit(tracking, reversed(variants.values()), prepared=prepared)
    )
    facts = {
        found.variant.digest: recording.training_facts(tracking, replace(found.variant, name=found.cell.arm))
        for arm in dict.fromkeys(found.cell.arm for found in collected.cells)
        for found in collected.of_arm(arm)[:1]
    }
    return Trainings(
        curves=tuple(
            ArmCurves(arm=arm, stage=stage, curves=tuple(dict.fromkeys(drawn)))
            for (arm, stage), drawn in curves.items()
        ),
        audit=audit,
        caveats=tuple(said for fact in facts.values() for said in fact.caveats),
        n_tokens=sum(by_task.values()),
        by_task=by_task,
    )


def missing(collected: Collected) -> tuple[MissingRow, ...]:
    """Trainings that failed, replies and scores that are not there."""
    lost = [
        MissingRow(what=f"arm {name}", n=1, of=1, why=f"failed after a second try: {why}")
        for name, why in collected.lost.items()
    ]
    generations = {f"{c.cell.name}": generations_of(c) for c in collected.cells if c.replies is not None}
    scored = [replace(lost, variant=name) for name, table in collected.scores.items() for lost in table.lost()]
    return (*lost, *recording.missing_rows(generations, scored))


def written(value: Any) -> str:
    """A setting as a reader meets it."""
    if value is None:
        return "off"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(key: str, settings: Mapping[str, Any], stages: Sequence[str]) -> str:
    """A factor's value in an arm; a dash where the arm has no stage that would read it."""
    return written(settings.get(key, OWN_VALUE)) if is_read(key, stages) else "—"
