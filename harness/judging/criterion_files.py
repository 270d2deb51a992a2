"""Criteria as YAML files: those that ship with the package, and those in a judge's own folder."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.config import StrictConfig, load_yaml
from harness.errors import ConfigError
from harness.task_kinds import DIALOGUE, TaskKind
from harness.types import Criterion


class CriterionFile(StrictConfig):
    """The YAML of one criterion."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    definition: str = Field(min_length=1)
    steps: tuple[str, ...] = ()
    scale: tuple[int, int] = (1, 5)


def load_criterion(name: str, *, kind: TaskKind = DIALOGUE) -> Criterion:
    """A criterion that ships with the package: coherence, consistency, fluency or relevance, of dialogue or answers."""
    known = shipped_criteria()
    if name not in known:
        raise ConfigError(f"`criteria` must be of {', '.join(known)} or a file such as ./{name}.yaml, got {name!r}")
    folder = _criteria_folder() if kind.is_dialogue else _criteria_folder() / "answers"
    with importlib.resources.as_file(folder / f"{name}.yaml") as path:
        return read_criterion(path)


def shipped_criteria() -> tuple[str, ...]:
    """Names of the criteria that ship with the package, in alphabetical order."""
    files = (entry.name for entry in _criteria_folder().iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def read_criterion(path: Path) -> Criterion:
    """A criterion's file; ConfigError names file, key and rule."""
    data = load_yaml(path, CriterionFile)
    return Criterion(name=data.name, definition=data.definition, steps=data.steps, scale=data.scale)


def _criteria_folder() -> Any:
    return importlib.resources.files("harness.judging") / "criteria"
