"""Criteria outside an experiment: what `screentest judge steps` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.experiment.judges.spending import Planned
from harness.experiment.session import Session
from harness.experiment.variants import parse_variant
from harness.judging.criterion_files import read_criterion
from harness.judging.steps import DECODING, draft_steps, freeze_steps, require_unfrozen, steps_request
from harness.models.bases import resolve_base
from harness.task_kinds import DIALOGUE, find_task
from harness.types import Criterion

if TYPE_CHECKING:
    from harness.experiment.design import VariantDesign
    from harness.models.protocol import LanguageModel

PURPOSE = "judge steps"


def write_steps(
    session: Session, path: Path, *, model: str, revision: str | None, force: bool, task: str = DIALOGUE.name
) -> Criterion:
    """Have a model write the steps of a criterion into its file.

    Args:
        session: whose budget an endpoint is asked within.
        model: `embedded`, a hub id, a checkpoint's folder, or an endpoint as `http://host/v1#model`.

    Raises:
        ConfigError: the file is no criterion, or has steps already and `force` is not given; `model` is none.
        JudgeError: the model wrote no usable list.
    """
    criterion = read_criterion(path)
    require_unfrozen(path, criterion, force=force)  # before a model is loaded, or asked
    design = _design(model, revision)
    drafted = draft_steps(criterion, model=_writer(session, design), kind=find_task(task))
    freeze_steps(path, drafted, written_by=_name(design))
    return drafted


def plan_steps(
    session: Session, path: Path, *, model: str, revision: str | None, task: str = DIALOGUE.name
) -> list[Planned]:
    """What an endpoint would be asked; nothing is sent."""
    design = _design(model, revision)
    if design.endpoint is None:
        return []
    asked = session.spending.model(endpoint=design.endpoint, name=design.endpoint_model or "", purpose=PURPOSE)
    plan = asked.plan([steps_request(read_criterion(path), kind=find_task(task))], decoding=DECODING)
    return [Planned(what=f"steps by {design.endpoint_model}", plan=plan)]


def _design(model: str, revision: str | None) -> VariantDesign:
    design = parse_variant(model)
    if design.model is None and design.endpoint is None:
        raise ConfigError(
            f"`--model` must be `embedded`, a hub id, a checkpoint's folder or http://host/v1#model, got {model!r}"
        )
    if revision is not None:
        if design.endpoint is not None:
            raise ConfigError(f"`--revision` must be left out for an endpoint, got {revision!r}")
        design = design.model_copy(update={"revision": revision})
    return design


def _writer(session: Session, design: VariantDesign) -> LanguageModel:
    if design.endpoint is not None:
        return session.spending.model(endpoint=design.endpoint, name=design.endpoint_model or "", purpose=PURPOSE)
    return session.pool.base(resolve_base(design.model or "", revision=design.revision))


def _name(design: VariantDesign) -> str:
    """Who wrote, for whoever reviews."""
    if design.endpoint is not None:
        return f"{design.endpoint_model} at {design.endpoint}"
    base = resolve_base(design.model or "", revision=design.revision)
    return f"{base.source} ({base.digest[:12]})"
