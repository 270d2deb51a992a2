"""Arms × seeds as a graph: what is shared is one task, and what cannot be read is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ablations import design_of, tiny_ablation
from stories import EXPERIMENTS

from harness.errors import ConfigError
from harness.experiment.arms import AblationDesign
from harness.experiment.evaluate import load_design
from harness.experiment.graph import Plan
from harness.experiment.kinds import stage_kind
from harness.experiment.plan import plan_ablation
from pipelines import stages

FOUR = {f"a{n}": {"sft.neftune_alpha": n} for n in (0, 5, 10, 15)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    tiny_ablation(tmp_path, base)
    return tmp_path


def counts(plan: Plan) -> dict[str, int]:
    return dict(Counter(task.kind for task in plan.tasks.values()))


def shipped(name: str, profile: str = "quick") -> Plan:
    file = EXPERIMENTS / "ablations" / f"{name}.yaml"
    return plan_ablation(load_design(file, AblationDesign, profile=profile), folder=file.parent)


def test_four_arms_and_three_seeds_prepare_once_and_train_twelve_times(folder: Path) -> None:
    contrasts = [{"name": "a5-a0", "arms": ["a5", "a0"]}]
    plan = plan_ablation(design_of(arms=FOUR, control="a0", contrasts=contrasts), folder=folder)
    assert counts(plan) == {"prepare": 1, "sft": 12, "generate": 12, "heldout": 12, "metrics": 1}


@pytest.mark.parametrize("name", ["components", "dpo"])  # the judge of the latter is taught first
def test_a_task_comes_after_what_it_needs(name: str) -> None:
    plan = shipped(name)
    seen: set[str] = set()
    for key, task in plan.tasks.items():
        assert set(task.needs.values()) <= seen
        seen.add(key)


def test_an_untrained_arm_is_asked_once_whatever_the_seeds(folder: Path) -> None:
    plan = shipped("components")
    cells = [cell for cell in plan.cells if cell.arm == "base"]
    assert len(cells) == 3
    assert len({cell.generate for cell in cells}) == len({cell.heldout for cell in cells}) == 1


def test_ablations_that_ship_share_their_trainings_and_their_replies() -> None:
    neftune, components, dpo, longer = (shipped(n) for n in ("neftune", "components", "dpo", "extended_length"))

    def cells(plan: Plan, arm: str) -> list[Any]:
        return [(c.adapter, c.generate, c.heldout) for c in plan.cells if c.arm == arm]

    assert cells(neftune, "a5") == cells(components, "neftune") == cells(dpo, "sft")
    assert cells(neftune, "none") == cells(components, "qlora")
    assert cells(components, "dpo") == cells(dpo, "dpo")
    assert cells(components, "chosen-sft") == cells(dpo, "chosen-sft")
    assert [(a, g) for a, g, _ in cells(neftune, "a5")] == [(a, g) for a, g, _ in cells(longer, "t64")]
    # All five together train 12 adapters by SFT on the embedded model, and three each by DPO and its control.
    every = {k: t for plan in (neftune, components, dpo, longer) for k, t in plan.tasks.items()}
    trained = Counter(t.kind for t in every.values())
    assert (trained["sft"], trained["pairs"], trained["dpo"], trained["chosen_sft"]) == (12, 3, 3, 3)


def test_a_training_method_that_is_declared_is_planned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(stage_kind("dpo"), name="kto", section="kto", words="KTO")
    monkeypatch.setattr(stages, "KINDS", (*stages.KINDS, own))
    data = yaml.safe_load((EXPERIMENTS / "recipes" / "dpo" / "embedded.yaml").read_text())
    (folder / "kto.yaml").write_text(yaml.safe_dump(data | {"quantization": "none"}))
    changes = {
        "stages": ["sft", "kto"],
        "factor": "kto.loss.beta",
        "recipes": {"sft": "recipe.yaml", "kto": "kto.yaml"},
    }
    arms = {"none": {"kto.loss.beta": 0.1}, "a5": {"kto.loss.beta": 0.5}}
    design = design_of(arms=arms, pairs={"method": "reference"}, **changes)
    found = counts(plan_ablation(design, folder=folder))
    assert (found["sft"], found["pairs"]) == (len(design.seeds),) * 2  # shared by both arms
    assert found["kto"] == 2 * len(design.seeds)


def test_sizes_that_are_trained_here_get_a_base_each_and_share_the_text() -> None:
    plan = shipped("scale")
    assert counts(plan) == {"prepare": 4, "pretrain": 3, "sft": 9, "heldout": 9}
    assert counts(shipped("scale", "full")) == {"prepare": 3, "sft": 9, "heldout": 9}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"none": {"sft.noise": 0}, "a5": {"sft.noise": 5}}, "factor": "sft.noise"}, "nothing reads `noise`"),
        ({"arms": {"none": {"dpo.loss.beta": 0.1}, "a5": {"dpo.loss.beta": 0.5}}, "factor": "dpo.loss.beta"},
         "nothing reads `dpo.loss.beta`"),
        ({"arms": {"none": {"stages": []}, "a5": {"stages": ["dpo"]}}, "factor": "stages"}, "`stages` must be one of"),
        ({"arms": {"none": {"base": "small"}, "a5": {"base": "large"}}, "factor": "base"}, "choose a profile"),
        ({"recipes": {"kto": "kto.yaml"}}, "`recipes` must name one of sft, dpo, got `kto`"),
        ({"arms": {"none": {"kto.beta": 0}, "a5": {"kto.beta": 5}}, "factor": "kto.beta"}, "nothing reads 'kto.beta'"),
        ({"fixed": {"learning_rate": 1}}, "nothing reads 'learning_rate'"),
        ({"fixed": {"sft": 1}}, "nothing reads 'sft'"),
        ({"arms": {"none": {"base": "a"}, "a5": {"base": "b"}}, "factor": "base", "bases": {"a": {"source": "x"}}},
         "names the base `b`; `bases` has a"),
        ({"recipes": {}}, "`recipes` must name the sft recipe"),
        ({"arms": {"none": {"sft.neftune_alpha": 0}, "a5": {"sft.neftune_alpha": -1}}}, "greater than 0"),
        ({"stages": ["sft", "dpo"]}, "`recipes` must name the dpo recipe"),
    ],
)  # fmt: skip
def test_what_no_stage_could_run_is_refused_before_training(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as err:
        plan_ablation(design_of(**changes), folder=folder)
    assert said in str(err.value)
