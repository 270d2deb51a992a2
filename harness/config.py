"""Strict configuration: every key is known and given once, every mistake is one sentence with its file and place."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from harness.doors.text import decode_text, require_sound, shown
from harness.errors import ConfigError, CorpusError, InputError

MAX_BYTES = 1 << 20  # of a YAML file; the largest of ours has 4 thousand
_MAX_NODES = 100_000  # keys and values, those behind an alias counted wherever it stands
_MAX_NUMBER = 1e15  # where a setting names no bound of its own; whole numbers beyond are no exact floats
_MAX_WORDS = 400  # characters of a message about one key

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy and torch both take


class StrictConfig(BaseModel):
    """A frozen model that refuses unknown keys, numbers that cannot be, and truth values in place of numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_a_number_that_can_be(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and not _takes_bool(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("must not be a truth value")
        if isinstance(value, int | float) and not abs(value) <= _MAX_NUMBER:
            raise ValueError(f"must be finite and at most {_MAX_NUMBER:.0e} in size")
        return value


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file, safely loaded; `ConfigError` names file and line."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as err:
        raise ConfigError(f"`{path}` must be an existing YAML file; there is none") from err
    except OSError as err:
        raise ConfigError(f"`{path}` must be a YAML text file, got: {err.strerror}") from err
    if len(content) > MAX_BYTES:
        raise ConfigError(f"`{path}` must have at most {MAX_BYTES:,} bytes, got more")
    try:
        data = _loaded(decode_text(content, file=path))
    except CorpusError as err:
        raise ConfigError(str(err)) from err
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        problem = _cut(str(getattr(err, "problem", None) or err).splitlines()[0])
        reason = problem if isinstance(err, _Mistake) else f"not YAML ({problem})"
        raise ConfigError(f"`{path}`{where}: {reason}") from err
    except (InputError, ValueError, OverflowError) as err:  # a date or a number that cannot be
        raise ConfigError(f"`{path}` must hold settings that can be, got: {_cut(str(err))}") from err
    except RecursionError as err:
        raise ConfigError(f"`{path}` must be a mapping of settings, got lists or mappings nested too deeply") from err
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


def sentence(err: ValidationError, kind: Any) -> str:
    """A pydantic error about a model or a dataclass in one sentence."""
    first, *rest = err.errors()
    key = _cut(".".join(str(part) for part in first["loc"]), most=80) or kind.__name__
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        # Of a nested mapping the keys are another model's, which the error does not name.
        is_nested = len(first["loc"]) > 1
        text = f"`{key}` is not a key" + (
            "; remove or rename it" if is_nested else f" of {kind.__name__}; its keys are {', '.join(_keys(kind))}"
        )
    elif first["type"] == "missing":
        text = f"`{key}` is required"
    elif not first["loc"] and first["type"] == "value_error":
        text = _cut(first["msg"].removeprefix("Value error, "))
    else:
        text = f"`{key}`: {_cut(first['msg'].removeprefix('Value error, '))}, got {shown(first['input'])}"
    return text if not rest else f"{text} (and {len(rest)} more)"


def _keys(kind: Any) -> list[str]:
    fields = kind.model_fields if issubclass(kind, BaseModel) else kind.__dataclass_fields__
    return [getattr(field, "alias", None) or name for name, field in fields.items()]


def _cut(text: str, *, most: int = _MAX_WORDS) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _takes_bool(kind: Any) -> bool:
    """Whether a field's type has a place for true and false; what is not plain decides for itself."""
    if get_origin(kind) in (Union, types.UnionType, Annotated):
        return any(_takes_bool(part) for part in get_args(kind))
    return kind not in (int, float, str, type(None))


class _Mistake(yaml.MarkedYAMLError):
    """What is YAML and still cannot be a setting."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key stands once."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        is_merge = key_node.tag == "tag:yaml.org,2002:merge"
        key = "<<" if is_merge else loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict | set):
            continue  # the constructor refuses it with its line
        if key in seen:
            raise _Mistake(problem=f"the key {shown(key)} is given twice; keep one", problem_mark=key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _loaded(text: str) -> Any:
    """The one document of a text.

    Raises InputError: aliases make more of it than a setting can be, or a text cannot be stored.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _require_small(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _require_small(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many nodes stand below one, aliases followed."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise InputError("a value must not hold itself, got an alias of what it stands in")
        return sizes[id(node)]
    sizes[id(node)] = 0
    if isinstance(node, yaml.ScalarNode):
        require_sound(node.value, "a text")
        if node.tag != "tag:yaml.org,2002:str" and len(node.value) > _MAX_WORDS:
            raise _Mistake(problem="a number or date must be short", problem_mark=node.start_mark)
        if node.tag == "tag:yaml.org,2002:float" and node.value.lower().lstrip("+-") in (".inf", ".nan"):
            raise _Mistake(problem=f"a number must be finite, got {node.value}", problem_mark=node.start_mark)
    parts = [] if isinstance(node, yaml.ScalarNode) else node.value
    below = (n for part in parts for n in (part if isinstance(part, tuple) else (part,)))
    size = 1 + sum(_require_small(part, sizes) for part in below)
    if size > _MAX_NODES:
        raise InputError(f"settings must have at most {_MAX_NODES:,} keys and values, got more by way of aliases")
    sizes[id(node)] = size
    return size
