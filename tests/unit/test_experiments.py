"""Every file under experiments/, MLproject and the README is what the code can read and run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from stories import EXPERIMENTS, REPOSITORY
from unit.test_docs_commands import parse

from harness.config import load_yaml
from harness.experiment.arms import AblationDesign
from harness.experiment.design import EvaluationDesign
from harness.experiment.evaluate import load_design
from harness.experiment.plan import plan_ablation, plan_evaluation
from harness.experiment.variants import parse_variant
from harness.judging.criterion_files import shipped_criteria
from harness.studies.study_design import StudyDesign
from pipelines.training.recipe import DpoRecipe, SftRecipe

RECIPES = sorted((EXPERIMENTS / "recipes" / "sft").glob("*.yaml"))
PREFERENCES = sorted((EXPERIMENTS / "recipes" / "dpo").glob("*.yaml"))
JUDGES = sorted(path.parent for path in (EXPERIMENTS / "judges").glob("*/judge.yaml"))
PRETRAINING = sorted((EXPERIMENTS / "recipes" / "pretrain").glob("*.yaml"))
ABLATIONS = sorted((EXPERIMENTS / "ablations").glob("*.yaml"))
_DECLARED = {EXPERIMENTS / f"{name}.yaml" for name in ("cross_evaluator", "preference_audit")}
STUDIES = sorted({*(EXPERIMENTS / "studies").glob("*.yaml"), *_DECLARED})
PAPER = EXPERIMENTS / "paper.yaml"  # its own kind; tests/integration/test_paper.py loads it
DESIGNS = sorted({*EXPERIMENTS.glob("*.yaml")} - _DECLARED - {PAPER})
PROJECT: dict[str, Any] = yaml.safe_load((REPOSITORY / "MLproject").read_text())


def name_of(path: Path) -> str:
    return path.relative_to(EXPERIMENTS).as_posix()


# ── experiments ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_yaml_is_of_a_known_kind_and_none_is_lost() -> None:
    every = sorted([*EXPERIMENTS.rglob("*.yaml"), *EXPERIMENTS.rglob("*.yml")])
    recipes = [*RECIPES, *PREFERENCES, *PRETRAINING]
    known = sorted([PAPER, *recipes, *DESIGNS, *ABLATIONS, *STUDIES, *(folder / "judge.yaml" for folder in JUDGES)])
    assert every == known
    assert (len(RECIPES), len(PREFERENCES), len(PRETRAINING)) == (6, 4, 3)
    assert (len(JUDGES), len(DESIGNS), len(ABLATIONS), len(STUDIES)) == (11, 2, 5, 5)


@pytest.mark.parametrize("path", STUDIES, ids=name_of)
def test_every_study_loads(path: Path) -> None:
    study = load_yaml(path, StudyDesign)
    assert not study.rehearsal
    assert set(study.criteria) <= set(shipped_criteria())


@pytest.mark.parametrize("path", DESIGNS, ids=name_of)
def test_every_experiment_loads_with_each_of_its_profiles_and_declares_the_same_in_all(path: Path) -> None:
    """Profiles are sizes and models; a contrast that exists in one of them only would be chosen after the data."""
    plain = load_design(path, EvaluationDesign)
    recipes = {load_yaml(recipe, SftRecipe).name for recipe in RECIPES}
    recipes |= {load_yaml(recipe, DpoRecipe).name for recipe in PREFERENCES}
    for profile in (None, *plain.profiles):
        design = load_design(path, EvaluationDesign, profile=profile)
        assert design.declaration_digest() == plain.declaration_digest()
        plan_evaluation(design, folder=path.parent, prepare={})  # judges score what they are asked for
        for adapter in (variant.adapter for variant in design.variants.values() if variant.adapter is not None):
            assert parse_variant(adapter).adapter == adapter
            assert adapter.partition("@")[0] in recipes


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_every_ablation_expands_with_each_of_its_profiles_and_declares_the_same_in_all(path: Path) -> None:
    plain = load_design(path, AblationDesign)
    assert set(plain.profiles) == {"quick", "full"}
    for profile in plain.profiles:
        design = load_design(path, AblationDesign, profile=profile)
        assert design.declaration_digest() == plain.declaration_digest()
        assert (design.arms, design.seeds, design.control) == (plain.arms, plain.seeds, plain.control)
        assert len(design.seeds) >= 3
        plan = plan_ablation(design, folder=path.parent)
        assert {cell.arm for cell in plan.cells} == set(design.arms)


def test_the_declarations_that_ship_have_the_digests_that_stores_know() -> None:
    digests = {
        "inference_comparison": "3f33680bc6ae", "quickstart": "4f8427ddfc83", "components": "22e5b39d8409",
        "dpo": "d7fc5c0c5118", "extended_length": "c4d31a018bcc", "neftune": "10801e07af39", "scale": "c020e3be247f",
    }  # fmt: skip
    designs = [
        *(load_design(file, EvaluationDesign) for file in DESIGNS),
        *(load_design(file, AblationDesign) for file in ABLATIONS),
    ]
    files = [file.stem for file in (*DESIGNS, *ABLATIONS)]
    assert {f: d.declaration_digest()[:12] for f, d in zip(files, designs, strict=True)} == digests


COMMANDED = [
    *RECIPES, *PREFERENCES, *PRETRAINING, PAPER, *DESIGNS, *ABLATIONS, *STUDIES,
    *(folder / "judge.yaml" for folder in JUDGES),
]  # fmt: skip


@pytest.mark.parametrize("path", COMMANDED, ids=name_of)
def test_a_file_begins_with_its_question_and_its_command_and_is_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 70
    comments = [line for line in lines[:4] if line.startswith("#")]
    assert comments[0].endswith("?") or comments[0].endswith(".")
    (command,) = [line for line in comments if "screentest " in line]
    words = shlex.split(command[command.index("screentest ") :])
    parse(words[1:])
    named = [word for word in words if word.startswith("experiments/")]
    for word in named:
        assert (REPOSITORY / word).exists(), word


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PROJECT["entry_points"])
def test_every_parameter_of_an_entry_point_is_used_in_a_command_that_exists(name: str) -> None:
    entry = PROJECT["entry_points"][name]
    used = set(re.findall(r"\{(\w+)\}", entry["command"]))
    assert used == set(entry["parameters"])
    for parameter in entry["parameters"].values():
        assert parameter["type"] in ("string", "float", "path", "uri")
        assert "default" in parameter
    values = {key: str(p["default"]) for key, p in entry["parameters"].items()}
    parse(shlex.split(entry["command"].format(**values))[1:])
    for key, parameter in entry["parameters"].items():
        if parameter["type"] == "path":
            assert (REPOSITORY / values[key]).exists()


def test_the_entry_points_are_those_that_others_script_against() -> None:
    assert set(PROJECT["entry_points"]) == {
        "main", "prepare", "sft", "pairs", "dpo", "ablate", "evaluate", "report",
    }  # fmt: skip
    assert (REPOSITORY / PROJECT["python_env"]).is_file()


def fenced(text: str) -> list[str]:
    """Lines inside code fences and inline code."""
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))


README = fenced((REPOSITORY / "README.md").read_text())


def test_every_command_of_the_readme_is_one() -> None:
    commands = [line for line in README if line.strip().startswith("screentest ")]
    assert commands
    for line in commands:
        words = shlex.split(line.strip(), comments=True)
        if "|" not in line and "…" not in line and len(words) > 1:
            parse(words[1:])


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.M))
    named = {m for line in README for m in re.findall(r"(?:^|\s)make ([a-z-]+)", line)}
    assert {"quickstart", "test"} <= named
    assert named <= targets


def test_every_make_target_says_what_it_does() -> None:
    lines = (REPOSITORY / "Makefile").read_text().splitlines()
    for target in re.findall(r"^\.PHONY: (.*)$", "\n".join(lines), flags=re.M)[0].split():
        (line,) = [text for text in lines if text.startswith(f"{target}:")]
        assert "## " in line
