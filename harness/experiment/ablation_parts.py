"""The parts of a record that are about arms: what each is, what is held still, and the trainings behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.experiment import record_parts as parts
from harness.experiment.arms import OWN_VALUE, AblationDesign
from harness.experiment.collect import Collected
from harness.experiment.design import ExperimentDesign
from harness.experiment.graph import Plan
from harness.experiment.kinds import provider, stage_kind
from harness.experiment.lineage import pairs_behind, training_of
from harness.experiment.trainings import is_read, stages_of
from harness.reporting.ablation_record import ArmCurves, ArmRow, LossCurve, Setting
from harness.reporting.record import AuditRow
from harness.store.artifacts import read_json
from harness.store.tracking import Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """What the trainings under an experiment left behind."""

    curves: tuple[ArmCurves, ...]  # of those that it made itself, by arm and stage, a seed each
    own_curves: tuple[LossCurve, ...]  # of adapters that were there before
    audit: tuple[AuditRow, ...]
    caveats: tuple[str, ...]  # what pairs could teach beside quality, of each arm's first seed
    n_tokens: int  # of distinct trainings
    by_task: Mapping[str, int]  # tokens of each


def fixed(design: ExperimentDesign) -> tuple[Setting, ...]:
    """What every arm shares, as declared."""
    ours: dict[str, Any] = {}
    factors: tuple[str, ...] = ()
    if isinstance(design, AblationDesign):
        recipes = {kind: path for kind, path in design.recipes.items() if path is not None}
        ours = {
            **{f"recipe {kind}": str(path).rsplit("/", 1)[-1] for kind, path in recipes.items()},
            **design.fixed,
            **{f"pairs.{key}": value for key, value in design.pairs.items()},
        }
        factors = design.declared_factors
    drawn = {"new tokens": "max_new_tokens", "temperature": "temperature"}
    shown = {
        **ours,
        "TEST prompts": design.asked.prompts or "all",
        "prompts for held-out loss": design.asked.heldout or "all",
        **{said: getattr(design.decoding, key) for said, key in drawn.items() if f"decoding.{key}" not in factors},
    }
    return tuple(Setting(key=key, value=written(value)) for key, value in shown.items())


def arm_rows(design: ExperimentDesign, plan: Plan, collected: Collected, trained: Trainings) -> tuple[ArmRow, ...]:
    """What makes each arm different, and what it took."""
    users = plan.users()
    rows = []
    for arm in design.arm_names:
        cells = [cell for cell in plan.cells if cell.arm == arm]
        tasks = {key: task for cell in cells for key, task in plan.of_cell(cell).items() if key in collected.results}
        own = [key for key in tasks if all(cell.arm == arm for cell in users[key])]
        n_lost = sum(cell.name in collected.lost for cell in cells)
        adapters = [parts.adapter_label(found.variant) for found in collected.of_arm(arm)]
        through = stages_of(design, arm) if isinstance(design, AblationDesign) and arm in design.arms else ()
        rows.append(
            ArmRow(
                name=arm,
                settings=_settings(design, arm, through) if isinstance(design, AblationDesign) else (),
                stages=", ".join(stage_kind(stage).words for stage in through) or "none",
                n_seeds=len(cells) - n_lost,
                n_lost=n_lost,
                seconds=sum(collected.results[key].seconds for key in tasks),
                own_seconds=sum(collected.results[key].seconds for key in own),
                n_train_tokens=sum(trained.by_task.get(key, 0) for key in tasks) or None,
                adapters=tuple(dict.fromkeys(label for label in adapters if label)),
            )
        )
    return tuple(rows)


def base_label(design: ExperimentDesign, arm: str) -> str:
    """A base that was trained here, by its name in the file; empty for one that has a name of its own."""
    if not isinstance(design, AblationDesign):
        return ""
    named = design.settings_of(arm).get("base")
    is_own = named in design.bases and design.bases[named].pretrain is not None
    return f"{named}, trained here from nothing" if is_own else ""


def trainings(tracking: Tracking, plan: Plan, collected: Collected) -> Trainings:
    """Curves, tokens and caveats of every training, and the checks of every adapter."""
    by_task: dict[str, int] = {}
    curves: dict[tuple[str, str], list[LossCurve]] = {}
    for cell in plan.cells:
        for key, task in plan.of_cell(cell).items():
            kind = stage_kind(task.kind)
            if kind.record is not None and key in collected.results:
                record = read_json(collected.results[key].folder / kind.record)
                by_task[key] = int(record.get("n_tokens") or 0)
                if cell.name not in collected.lost:
                    curve = parts.loss_curve(record, name=f"seed {cell.seed}", unit=kind.loss)
                    curves.setdefault((cell.arm, kind.words), []).append(curve)
    # Arms that differ after the training share an adapter: it is checked once, under the first of them.
    variants = {
        found.variant.adapter.digest: replace(found.variant, name=found.cell.name)
        for found in reversed(collected.cells)
        if found.variant.adapter is not None
    }
    first = [collected.of_arm(arm)[0] for arm in dict.fromkeys(found.cell.arm for found in collected.cells)]
    # What arms share is told once, under the last of them.
    names = {found.variant.digest: found.cell.arm for found in first}
    behind = {
        found.variant.digest: training
        for found in first
        if found.variant.adapter and (training := training_of(tracking, found.variant.adapter)) is not None
    }
    before = [f.variant.digest for f in first if f.cell.adapter is None and f.variant.digest in behind]
    pairs = {names[digest]: pairs_behind(tracking, training) for digest, training in behind.items()}
    return Trainings(
        curves=tuple(
            ArmCurves(arm=arm, stage=stage, curves=tuple(dict.fromkeys(drawn)))
            for (arm, stage), drawn in curves.items()
        ),
        own_curves=tuple(
            parts.loss_curve(behind[made].record, name=names[made], unit=stage_kind(behind[made].stage).loss)
            for made in before
        ),
        audit=provider().training_audit(tracking, reversed(variants.values()), prepared=collected.prepared),
        caveats=tuple(
            parts.pair_caveat(arm, read_json(folder / "audit.json"))
            for arm, folder in pairs.items()
            if folder is not None
        ),
        n_tokens=sum(by_task.values()) + sum(behind[made].record["n_tokens"] or 0 for made in before),
        by_task=by_task,
    )


def written(value: Any) -> str:
    """A setting as a reader meets it."""
    if value is None:
        return "off"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _settings(design: AblationDesign, arm: str, stages: Sequence[str]) -> tuple[Setting, ...]:
    """The factors' values in an arm; a dash where the arm has no stage that would read it, or is a variant."""
    settings = design.settings_of(arm)
    return tuple(
        Setting(
            key=key, value=written(settings.get(key, OWN_VALUE)) if arm in design.arms and is_read(key, stages) else "—"
        )
        for key in design.declared_factors
    )
