"""Generate, judge, estimate: an experiment's variants on the same held-out prompts, to a report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from harness.config import parse, read_yaml
from harness.doors import functions
from harness.errors import ConfigError
from harness.experiment.design import EvaluationDesign, ExperimentDesign, directed
from harness.experiment.engine import Finished, conclude, run_plan
from harness.experiment.plan import plan_evaluation
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preflight import look
from harness.experiment.preparing import prepare_settings
from harness.experiment.task_choice import of_design, with_task
from harness.experiment.variants import tokenizer_source
from harness.experiment.workers.here import ThisProcess
from harness.experiment.workers.schedule import Ran

if TYPE_CHECKING:
    from harness.experiment.graph import Plan
    from harness.experiment.session import Session
    from harness.store.tracking import StageResult

Design = TypeVar("Design", bound=ExperimentDesign)


def load_design(
    file: Path,
    kind: type[Design],
    *,
    profile: str | None = None,
    corpus: str | None = None,
    task: str | None = None,
    measures: Mapping[str, Any] = MappingProxyType({}),
    **own: Any,
) -> Design:
    """An experiment file with a profile's settings laid over it, and measures of its caller's added to its family.

    Args:
        own: keys whose values stand in the place of the file's; None: the file's own.

    Raises:
        ConfigError: the file breaks a rule, or has no profile of that name.
    """
    data = read_design(file, profile=profile)
    if corpus is not None:
        data = overlaid(data, {"data": {"corpus": corpus}})
    data = with_measures(data | {key: value for key, value in own.items() if value is not None}, measures)
    return parse(with_task(data, of_design(data, named=task)), kind, where=str(file))


def with_measures(data: dict[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's data with more measures, claimed on like those of its family where a direction is better."""
    if not measures:
        return data
    family = data.get("family") or {}
    claimed = [*family.get("measures", ()), *directed(measures)]
    return data | {
        "measures": {**data.get("measures", {}), **measures},
        "family": {**family, "measures": list(dict.fromkeys(claimed))},
    }


def read_design(file: Path, *, profile: str | None = None) -> dict[str, Any]:
    """The plain data of an experiment file with a profile's settings laid over it; functions beside it are found.

    Raises ConfigError: the file is not YAML, or has no profile of that name.
    """
    functions.look_in(file.parent)
    data = read_yaml(file)
    profiles = data.get("profiles") or {}
    if profile is None:
        return data
    if profile not in profiles:
        raise ConfigError(f"`{file}`: `profile` must be one of {', '.join(profiles) or 'none'}, got {profile!r}")
    return overlaid(data, profiles[profile] or {})


def run(session: Session, design: EvaluationDesign, *, folder: Path, limit: int | None = None) -> Finished:
    """Evaluate an experiment from its corpus or file; `folder` is what the design's relative paths start from.

    Raises InputError: something that it needs is not there, which is found out before any work.
    """
    plan = _plan(session, design, folder=folder, limit=limit)
    look(session, design, plan, folder=folder).begin(session.say)
    return _run(session, design, plan)


def preflight(session: Session, design: EvaluationDesign, *, folder: Path, limit: int | None = None) -> Preflight:
    """What `run` would need, checked; nothing but the data is prepared."""
    return look(session, design, _plan(session, design, folder=folder, limit=limit), folder=folder)


def _plan(session: Session, design: EvaluationDesign, *, folder: Path, limit: int | None) -> Plan:
    ordered = [design.variants[design.control], *design.variants.values()]
    base = tokenizer_source(ordered, session.tracking)
    settings = prepare_settings(design.data, base=base, limit=limit, kind=design.kind if design.task else None)
    return plan_evaluation(design, folder=folder, prepare=settings)


def evaluate_prepared(session: Session, design: EvaluationDesign, *, prepared: StageResult, folder: Path) -> Finished:
    """Evaluate an experiment on a prepared corpus."""
    plan = plan_evaluation(design, folder=folder, prepare={"standing": prepared.run_id})
    return _run(session, design, plan, runs={plan.cells[0].prepared: prepared.run_id})


def _run(session: Session, design: EvaluationDesign, plan: Plan, *, runs: Mapping[str, str] | None = None) -> Finished:
    began = time.perf_counter()
    ran = Ran(runs=dict(runs or {}))
    run_plan(session, design, plan, ThisProcess(session), ran=ran)
    finished = conclude(session, design, plan, ran)
    return replace(finished, seconds=time.perf_counter() - began)


def overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings of `above` over those of `below`, mappings merged key by key."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        # A variant is of one kind: naming another replaces it whole.
        merged[key] = overlaid(merged[key], value) if both and not _is_variant(value) else value
    return merged


def _is_variant(value: dict[str, Any]) -> bool:
    return bool(value.keys() & {"model", "adapter", "endpoint", "generations"})
