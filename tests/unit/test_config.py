"""Settings of every kind: keys once and read by code, numbers that can be, sentences that are short."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stories import EXPERIMENTS, REPOSITORY

from harness.config import StrictConfig, load_yaml
from harness.errors import ConfigError
from pipelines.training.recipe import SftRecipe

RECIPE = (EXPERIMENTS / "recipes/sft/embedded.yaml").read_text()
BOMB = "ka: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"k{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefg", "bcdefg", strict=False)
)
MODULES = (
    "harness.experiment.arms", "harness.experiment.design", "harness.judging.criterion_files", "harness.judging.spec",
    "harness.studies.study_design", "pipelines.preferences.pair_builder", "pipelines.training.recipe",
)  # fmt: skip


def kinds() -> list[type[StrictConfig]]:
    """Every model of settings that people write."""
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        models = [m for m in vars(module).values() if isinstance(m, type) and issubclass(m, StrictConfig)]
        found += [m for m in models if m.__module__ == name]
    return found


def changed(old: str, new: str) -> str:
    assert old in RECIPE
    return RECIPE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (changed("  learning_rate: 1.0e-3", "  learning_rate: 1.0e-3\n  learning_rate: 9.0"), "is given twice"),
        (RECIPE + "seed: 1\n", '"seed" is given twice'),
        (changed("rank: 16", "rank: {a: 1, a: 2}"), '"a" is given twice'),
        (changed("lora:\n", "lora:\n  <<: {rank: 8}\n  <<: {rank: 9}\n"), '"<<" is given twice'),
        (changed("rank: 16", "rank: 1" + "0" * 25), "at most 1e+15"),
        (changed("rank: 16", "rank: " + "9" * 5000), "must be short"),
        (changed("rank: 16", "rank: true"), "truth value"),
        (changed("rank: 16", "rank: 70000"), "less than or equal to 65536"),
        (changed("learning_rate: 1.0e-3", "learning_rate: .inf"), "must be finite, got .inf"),
        (changed("learning_rate: 1.0e-3", "learning_rate: 'nan'"), "finite number"),
        (changed("seed: 0", "seed: -1"), "greater than or equal to 0"),
        (changed("rank: 16", 'rank: "\\ud83d"'), "surrogate"),
        (changed("rank: 16", "rank: 2024-99-99"), "month must be"),
        (BOMB + changed("train_tokens: 16000", "train_tokens: *g"), "by way of aliases"),
        ("a: &a [*a]\n" + RECIPE, "must not hold itself"),
        (changed("rank: 16", f"rank: '{'y' * 900_000}'"), "valid integer"),
        (RECIPE + "y" * 900 + ": 1\n", "is not a key"),
        (RECIPE + f"x: '{'y' * 50_000_000}'", "at most 1,048,576 bytes"),
        ("a: " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
        (RECIPE + "\0", "not YAML"),
    ],
)
def test_every_mistake_is_one_short_sentence(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"r\.yaml`") as caught:
        load_yaml(tmp_path / "r.yaml", SftRecipe)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["rank: 16", "seed: 0", "neftune_alpha: 5.0", "learning_rate: 1.0e-3"]), value=VALUES)
def test_whatever_a_setting_holds_it_is_refused_or_can_be_stored(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "r.yaml").write_text(changed(key, f"{key.split(':')[0]}: {json.dumps(value)}"))
    said = ""
    try:
        recipe = load_yaml(tmp_path / "r.yaml", SftRecipe)
    except ConfigError as err:
        said = str(err)
    else:
        json.dumps(recipe.model_dump(mode="json"), allow_nan=False).encode()
    assert len(said.encode()) < 900


def unbounded(node: Any, path: str) -> Iterator[str]:
    """Numbers of a JSON schema that lack a least or a largest value."""
    if isinstance(node, dict):
        is_number = node.get("type") in ("integer", "number") and "const" not in node
        if is_number and not (
            {"minimum", "exclusiveMinimum"} & node.keys() and {"maximum", "exclusiveMaximum"} & node.keys()
        ):
            yield path
        for key, inner in node.items():
            yield from unbounded(inner, path if key in ("properties", "anyOf", "items") else f"{path}.{key}")
    elif isinstance(node, list):
        for inner in node:
            yield from unbounded(inner, path)


def test_every_number_of_every_kind_of_settings_has_a_least_and_a_largest_value() -> None:
    found = []
    for kind in kinds():
        schema = kind.model_json_schema()
        schema.pop("$defs", None)
        found += list(unbounded(schema, kind.__name__))
    # A scale is checked by its own rule, digit by digit.
    assert [path for path in found if ".scale" not in path] == []


def test_every_key_of_every_kind_of_settings_is_read_by_code() -> None:
    """A setting that nothing reads promises what nobody keeps; a rule about it alone is no reader."""
    read: set[str] = set()
    for path in [*(REPOSITORY / "harness").rglob("*.py"), *(REPOSITORY / "pipelines").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        rules = {
            id(inner)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            and any("validator" in ast.unparse(decorator) for decorator in function.decorator_list)
            for inner in ast.walk(function)
        }
        read |= {name for n in ast.walk(tree) if id(n) not in rules and (name := name_read(n))}
    unread = {f"{kind.__name__}.{name}" for kind in kinds() for name in kind.model_fields if name not in read}
    assert unread - {f"{kind.__name__}.schema_version" for kind in kinds()} == set()


def name_read(node: ast.AST) -> str:
    """`x.name`, `x["name"]`, `x.get("name")` or `getattr(x, "name")`; empty for all else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    place: ast.AST | None = node.slice if isinstance(node, ast.Subscript) else None
    if isinstance(node, ast.Call) and node.args:
        called = ast.unparse(node.func).split(".")[-1]
        place = {"get": node.args[0], "getattr": node.args[min(1, len(node.args) - 1)]}.get(called)
    return str(place.value) if isinstance(place, ast.Constant) else ""
