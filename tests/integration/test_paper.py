"""The paper's pipeline whole, on a tiny base, with a local server in the place of the judges that it pays for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import tiny_checkpoint
from stories import fresh_home, screentest, tiny_preference_recipe, tiny_recipe

import pipelines.paper
from harness.experiment.shipped import experiments_folder
from pipelines.paper import load_paper

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("profile", ["quick", "0.5b", "1.5b", "3b"])
def test_every_profile_declares_what_the_paper_did(profile: str) -> None:
    file, design = load_paper(profile=profile, corpus="cornell")
    assert file.is_file()
    assert list(design.arms) == ["base", "sft", "dpo"]
    assert {m.judge for m in design.measures.values() if m.judge} == {
        "judges/local-server" if profile == "quick" else "judges/gpt-4o-mini"
    }
    if profile != "quick":
        assert design.pairs["n_pairs"] == 10_000
        assert design.pairs["judge"] == "judges/gpt-4o-pairs"
        assert design.test.prompts == 50


def _roomy(base: Path) -> Path:
    """Room for the judge's questions, whose every byte is a token of the tiny tokenizer."""
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return base


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped folder with the quick profile on a tiny base."""
    folder = tmp_path_factory.mktemp("experiments")
    base = _roomy(tiny_checkpoint(tmp_path_factory.mktemp("base")))
    (folder / "judges").symlink_to(experiments_folder() / "judges")
    tiny_recipe(folder / "sft.yaml", base, data__train_tokens=1500, optimizer__warmup_steps=1)
    tiny_preference_recipe(folder / "dpo.yaml", base, data__max_tokens=2000)
    data: dict[str, Any] = yaml.safe_load((experiments_folder() / "paper.yaml").read_text())
    quick = data["profiles"]["quick"]
    for criterion in ("consistency", "fluency"):  # two of four are left: judging takes most of the time
        del data["measures"][criterion], quick["measures"][criterion]
        data["family"]["measures"].remove(criterion)
    quick["recipes"] = {"sft": "sft.yaml", "dpo": "dpo.yaml"}
    quick["variants"] = {"few-shot": {"model": str(base), "shots": 2}}
    quick["pairs"] |= {"n_pairs": 8, "max_new_tokens": 192, "n_candidates": 4}
    quick["test"] = {"prompts": 8, "heldout_prompts": 8, "min_clusters": 5}
    quick["controls"] = 2
    quick["studies"] = {"audit": {"target": {"prompts": 2}, "attention": 0}, "marks": {"target": {"prompts": 5}}}
    quick["stand_in"] = str(base)
    quick["decoding"] = {"max_new_tokens": 8}
    (folder / "paper.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def test_it_runs_whole_and_a_second_call_runs_nothing_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines.paper, "experiments_folder", lambda: tiny)
    home = fresh_home(tmp_path / "mlruns")
    dry = screentest("paper", "--dry-run", "--json", home=home).json
    said = {check["what"]: check["found"] for check in dry["checks"]}
    assert "3 raters" in said["people"]
    assert "to run: " in said["stages"]
    assert "hours of one like this one" in said["device"]
    assert any("assumed: 3 readings a token" in check["found"] for check in dry["checks"])
    assert sum(row["calls"] for row in dry["calls"]) >= 4 * 8 + 3 * 8 * 2  # candidates of pairs, replies × criteria
    ran = screentest("paper", "--json", home=home)
    assert {"sft", "pairs", "dpo", "generate", "heldout", "judge"} <= set(ran.json["stage_counts"])
    assert ran.json["missing"] == {}, ran.stderr
    assert {link["study"] for link in ran.json["studies"]} == {"paper-audit", "paper-marks"}
    assert len(ran.json["studies"]) == 6
    assert "stands in the place of the judges" in ran.stderr
    again = screentest("paper", "--json", home=home)
    assert again.json["studies"] == []
    assert "paper-marks stands already" in again.stderr
    assert all(stage["reused"] for stage in again.json["stages"] if stage["name"] != "analyse")
