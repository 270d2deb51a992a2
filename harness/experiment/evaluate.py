"""Generate, judge, estimate: an experiment's variants on the same held-out prompts, to a report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.config import parse, read_yaml
from harness.doors import functions
from harness.errors import ConfigError
from harness.experiment.analyse import analyse_stage
from harness.experiment.design import EvaluationDesign, directed
from harness.experiment.leakage import refuse_seen
from harness.experiment.measuring import Measured, measure
from harness.experiment.preparing import prepare, prompts_of
from harness.experiment.prompt_draw import draw_prompts
from harness.experiment.recordings import asked_prompts, unused_replies, unused_rows
from harness.experiment.session import Session
from harness.experiment.variants import resolve_variant, tokenizer_source
from harness.reporting.render import ReportFiles
from harness.reporting.runs import export_report
from harness.store.prepared import read_summary

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord
    from harness.store.tracking import StageResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A finished evaluation."""

    record: ReportRecord
    files: ReportFiles
    seconds: float  # wall time of the whole command, training included


def load_design(
    file: Path,
    *,
    profile: str | None = None,
    corpus: str | None = None,
    seed: int | None = None,
    measures: Mapping[str, Any] = MappingProxyType({}),
) -> EvaluationDesign:
    """An experiment file with a profile's settings laid over it, and measures of its caller's added to its family.

    Raises:
        ConfigError: the file breaks a rule, or has no profile of that name.
    """
    data = read_design(file, profile=profile)
    if corpus is not None:
        data = overlaid(data, {"data": {"corpus": corpus}})
    if seed is not None:
        data = data | {"seed": seed}
    return parse(with_measures(data, measures), EvaluationDesign, where=str(file))


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

    Raises:
        ConfigError: the file is not YAML, or has no profile of that name.
    """
    functions.look_in(file.parent)
    data = read_yaml(file)
    profiles = data.get("profiles") or {}
    if profile is None:
        return data
    if profile not in profiles:
        raise ConfigError(f"`{file}`: `profile` must be one of {', '.join(profiles) or 'none'}, got {profile!r}")
    return overlaid(data, profiles[profile] or {})


def run(session: Session, design: EvaluationDesign, *, folder: Path, limit: int | None = None) -> Evaluated:
    """Evaluate an experiment from its corpus or file; `folder` is what the design's relative paths start from."""
    began = time.perf_counter()
    ordered = [design.variants[design.control], *design.variants.values()]
    prepared = prepare(session, design.data, base=tokenizer_source(ordered, session.tracking), limit=limit)
    evaluated = evaluate_prepared(session, design, prepared=prepared, folder=folder)
    return replace(evaluated, seconds=time.perf_counter() - began)


def evaluate_prepared(
    session: Session,
    design: EvaluationDesign,
    *,
    prepared: StageResult,
    folder: Path,
) -> Evaluated:
    """Evaluate an experiment on a prepared corpus."""
    began = time.perf_counter()

    # prompts
    test = prompts_of(prepared, "test")
    prompts = asked_prompts(design, test)
    heldout = prompts  # or more of the same draw, which begins with them
    if design.data.prompts is not None and (design.data.heldout_prompts or 0) > design.data.prompts:
        heldout = draw_prompts(test, n=design.data.heldout_prompts or 0, seed=design.seed)

    # variants
    system = read_summary(prepared.folder).system
    variants = {
        name: resolve_variant(
            name,
            declared,
            tracking=session.tracking,
            system=system,
            shots_from=lambda: prompts_of(prepared, "train"),
            seed=design.seed,
            probe=session.spending.prober,
        )
        for name, declared in design.variants.items()
    }
    refuse_seen(session.tracking, variants.values(), prepared=prepared, test=heldout)

    # rows
    measured: Measured = measure(
        session, design, variants=variants, prompts=prompts, heldout=heldout, prepared=prepared, folder=folder
    )
    unused = unused_rows(design, read_summary(prepared.folder).left_out)
    unused += unused_replies(variants.values(), prompts=prompts, test=test)
    measured = replace(measured, absences=(*unused, *measured.absences))

    # numbers
    record = analyse_stage(session, design, measured=measured, prepared=prepared, began=began)
    files = export_report(session.tracking, record)
    return Evaluated(record=record, files=files, seconds=time.perf_counter() - began)


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
