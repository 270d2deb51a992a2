"""A judge is a folder: `judge.yaml`, its prompt, and criteria of its own where it has any.

The id of a judge is the hash of everything that decides its scores. What only decides how fast they come (batch sizes,
timeouts) or what is concluded from them (qualification thresholds) stays out of it.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import ConfigError
from harness.types import Criterion

Method = Literal["geval", "likelihood"]
Mode = Literal["exact", "likelihood"]
Scale = tuple[int, int]

SPEC_FILE = "judge.yaml"
LIKELIHOOD_CRITERIA = ("coherence", "fluency")
Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ModelChoice(_Strict):
    """Which weights judge."""

    source: str = Field(min_length=1)  # embedded, a hub id or a folder
    revision: str | None = None  # commit of a hub id
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class QualificationRule(_Strict):
    """When the judge is believed; not part of its id."""

    min_auc: float = Field(default=0.60, ge=0.5, lt=1)
    n_controls: int = Field(default=60, ge=2)  # true replies per control family


class Runtime(_Strict):
    """How fast it works; not part of its id."""

    batch_tokens: int = Field(default=4096, ge=64)
    timeout_s: float = Field(default=60, gt=0)


class JudgeSpec(_Strict):
    """`judge.yaml` with its prompt and criteria read in: everything there is to know about a judge but its weights."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    method: Method
    mode: Mode
    model: ModelChoice
    family: str = Field(min_length=1)
    prompt: str | None = None  # geval: the text of the prompt file
    criteria: tuple[Criterion, ...] = Field(min_length=1)
    scale: Scale | None = None  # geval: lowest and highest score, each one digit
    min_mass: Annotated[float, Field(gt=0, le=1)] | None = None  # geval: least probability on the score tokens
    max_bytes: int = Field(default=6000, ge=256)  # of conversation and reply, UTF-8: never more tokens than bytes
    qualification: QualificationRule = QualificationRule()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _fits_its_method(self) -> JudgeSpec:
        names = [c.name for c in self.criteria]
        _require(len(set(names)) == len(names), f"`criteria` must be named once each, got {names}")
        if self.method == "likelihood":
            self._check_likelihood(names)
        else:
            self._check_geval()
        return self

    def _check_likelihood(self, names: list[str]) -> None:
        _require(self.mode == "likelihood", f"`mode` of a likelihood judge must be likelihood, got {self.mode}")
        for key in ("prompt", "scale", "min_mass"):
            _require(getattr(self, key) is None, f"`{key}` must be left out of a likelihood judge, which asks nothing")
        unknown = [n for n in names if n not in LIKELIHOOD_CRITERIA]
        _require(
            not unknown, f"`criteria` of a likelihood judge must be of {', '.join(LIKELIHOOD_CRITERIA)}, got {unknown}"
        )

    def _check_geval(self) -> None:
        _require(self.mode == "exact", f"`mode` of a geval judge must be exact, got {self.mode}")
        for key, example in (("prompt", "prompt.txt"), ("scale", "[1, 5]"), ("min_mass", "0.2")):
            _require(getattr(self, key) is not None, f"`{key}` must be given for a geval judge, e.g. {example}")
        low, high = self.scale or (0, 0)
        _require(0 <= low < high <= 9, f"`scale` must rise within 0 to 9, one digit a score, got [{low}, {high}]")
        for c in self.criteria:
            _require(c.scale == self.scale, f"`scale` must be that of its criteria, got {c.name} on {list(c.scale)}")
            _require(bool(c.steps), f"`criteria` of a geval judge must have evaluation steps, {c.name} has none")


class _CriterionFile(_Strict):
    """The YAML of one criterion."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    definition: str = Field(min_length=1)
    steps: tuple[str, ...] = ()
    scale: Scale = (1, 5)


def load_judge_spec(folder: Path) -> JudgeSpec:
    """Read a judge's folder. ConfigError names the file, the key, the rule and what arrived."""
    path = folder / SPEC_FILE
    data = _read_yaml(path)
    if isinstance(data.get("prompt"), str):
        data["prompt"] = _inside(folder, data["prompt"], key="prompt", where=path).read_text(encoding="utf-8")
    if isinstance(data.get("criteria"), list):
        data["criteria"] = [_criterion(name, folder, where=path) for name in data["criteria"]]
    return _parse(JudgeSpec, data, where=path)


def load_criterion(name: str) -> Criterion:
    """A criterion that ships with the package: coherence, consistency, fluency or relevance."""
    known = shipped_criteria()
    if name not in known:
        raise ConfigError(f"`criteria` must be of {', '.join(known)} or a file such as ./{name}.yaml, got {name!r}")
    with importlib.resources.as_file(_criteria_folder() / f"{name}.yaml") as path:
        return _read_criterion(path)


def shipped_criteria() -> tuple[str, ...]:
    """Names of the criteria that ship with the package, in alphabetical order."""
    files = (entry.name for entry in _criteria_folder().iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def _criteria_folder() -> Any:
    return importlib.resources.files("harness.judging") / "criteria"


def _criterion(entry: object, folder: Path, *, where: Path) -> Criterion:
    if not isinstance(entry, str):
        raise ConfigError(f"`{where}`: `criteria` must be names or files, got {entry!r}; write e.g. [coherence]")
    if entry.endswith((".yaml", ".yml")):
        return _read_criterion(_inside(folder, entry, key="criteria", where=where))
    return load_criterion(entry)


def _read_criterion(path: Path) -> Criterion:
    data = _parse(_CriterionFile, _read_yaml(path), where=path)
    return Criterion(name=data.name, definition=data.definition, steps=data.steps, scale=data.scale)


def _inside(folder: Path, name: str, *, key: str, where: Path) -> Path:
    """A file of the judge's own folder: a judge that reads elsewhere could not be handed on or hashed whole."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"`{where}`: `{key}` must be a file inside the judge's folder, got {name!r}; copy it there")
    if not path.is_file():
        raise ConfigError(f"`{where}`: `{key}` must name a file that is there, got {name!r}")
    return path


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ConfigError(f"`{path}` must be a judge's file, there is none; give a folder with {SPEC_FILE}") from err
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"`{path}` must be a UTF-8 YAML file, got {type(err).__name__}") from err
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = "" if mark is None else f" line {mark.line + 1}"
        raise ConfigError(f"`{path}`{line}: not YAML ({getattr(err, 'problem', err)})") from err
    if not isinstance(data, dict):
        raise ConfigError(f"`{path}` must hold keys and values, got {type(data).__name__}")
    return data


def _parse(kind: type[Model], data: Mapping[str, Any], *, where: Path) -> Model:
    try:
        return kind.model_validate(data)
    except ValidationError as err:
        raise ConfigError(f"`{where}`: {_sentence(err, kind)}") from err


def _sentence(err: ValidationError, kind: type[BaseModel]) -> str:
    first, *rest = err.errors()
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in kind.model_fields.items())
        text = f"`{key}` is unknown; remove or rename it" + ("" if "." in key else f" (the keys are {known})")
    elif first["type"] == "missing":
        text = f"`{key}` must be given"
    elif not key:
        text = first["msg"].removeprefix("Value error, ")
    else:
        text = f"`{key}`: {first['msg'].removeprefix('Value error, ')}, got {first['input']!r}"
    return text if not rest else f"{text} (and {len(rest)} more)"


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
