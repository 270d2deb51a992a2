"""Criteria outside an experiment: what `screentest judge steps` does."""

from __future__ import annotations

from pathlib import Path

from harness.judging.criterion_files import read_criterion
from harness.judging.steps import draft_steps, freeze_steps, require_unfrozen
from harness.models.bases import resolve_base
from harness.types import Criterion
from pipelines.variants import ModelPool


def write_steps(path: Path, *, source: str, revision: str | None, force: bool) -> Criterion:
    """Have a local model write the steps of a criterion into its file.

    Raises:
        ConfigError: the file is no criterion, or has steps already and `force` is not given.
        JudgeError: the model wrote no usable list.
    """
    criterion = read_criterion(path)
    require_unfrozen(path, criterion, force=force)  # before a model is loaded
    base = resolve_base(source, revision=revision)
    drafted = draft_steps(criterion, model=ModelPool().base(base))
    freeze_steps(path, drafted, written_by=f"{base.source} ({base.digest[:12]})", force=force)
    return drafted.criterion
