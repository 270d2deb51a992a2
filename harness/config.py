"""Strict configuration: every key is known, every mistake is one sentence with its file and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import ConfigError


class StrictConfig(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file, safely loaded; `ConfigError` names file and line."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ConfigError(f"`{path}` must be an existing YAML file; there is none") from err
    except (IsADirectoryError, UnicodeDecodeError) as err:
        raise ConfigError(f"`{path}` must be a YAML text file") from err
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"`{path}`{where}: not YAML ({getattr(err, 'problem', err)})") from err
    if not isinstance(data, dict):
        raise ConfigError(f"`{path}` must hold keys and values, got {type(data).__name__}")
    return data


def load_yaml(path: Path, kind: type[Model]) -> Model:
    """A YAML file as a strict model."""
    return parse(read_yaml(path), kind, where=str(path))


def parse(data: dict[str, Any], kind: type[Model], *, where: str) -> Model:
    """Plain data as a strict model; `ConfigError` names the first broken rule and counts the rest."""
    try:
        return kind.model_validate(data)
    except ValidationError as err:
        raise ConfigError(f"`{where}`: {sentence(err, kind)}") from err


def sentence(err: ValidationError, kind: type[BaseModel]) -> str:
    """A pydantic error in one sentence."""
    first, *rest = err.errors()
    key = ".".join(str(part) for part in first["loc"]) or kind.__name__
    if first["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in kind.model_fields.items())
        # Of a nested mapping the keys are another model's, which the error does not name.
        is_nested = len(first["loc"]) > 1
        text = f"`{key}` is not a key" + (
            "; remove or rename it" if is_nested else f" of {kind.__name__}; its keys are {known}"
        )
    elif first["type"] == "missing":
        text = f"`{key}` is required"
    elif not first["loc"]:
        text = first["msg"].removeprefix("Value error, ")
    else:
        text = f"`{key}`: {first['msg'].removeprefix('Value error, ')}, got {first['input']!r}"
    return text if not rest else f"{text} (and {len(rest)} more)"
