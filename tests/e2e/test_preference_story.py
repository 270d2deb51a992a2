"""Preferences on a tiny base from the command line: fine-tune, make or bring pairs, train on them, audit, refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny_checkpoint
from stories import Ran, fresh_home, screentest, tiny_experiment, tiny_preference_recipe, tiny_recipe

from harness.registry import resolve
from harness.settings import Settings
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow


class World:
    """A base, recipes, a home, and an SFT adapter in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = tiny_checkpoint(folder / "base")
        self.sft = tiny_recipe(folder / "sft.yaml", self.base)
        self.dpo = tiny_preference_recipe(folder / "dpo.yaml", self.base)
        self.home = fresh_home(folder / "mlruns")
        self.trained = self.run("sft", self.sft, "--limit", 60, "--json").json
        self.pairs = folder / "mine.jsonl"
        rows = [
            {"prompt": f"Where is number {row}?", "chosen": f"Here, {row}.", "rejected": "zz " * (1 + row % 4),
             "cluster": f"f{row % 6}"}
            for row in range(18)
        ]  # fmt: skip
        self.pairs.write_text("\n".join(json.dumps(row) for row in rows))

    def run(self, *arguments: object) -> Ran:
        return screentest(*arguments, home=self.home)

    @property
    def tracking(self) -> Tracking:
        return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(self.home)}))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def imported(world: World) -> Any:
    arguments = ("--parent", "tiny-sft@candidate", "--limit", 60, "--json")
    return world.run("pairs", "import", world.pairs, *arguments).json


@pytest.fixture(scope="module")
def preferred(world: World, imported: Any) -> Any:
    return world.run("dpo", world.dpo, "--pairs", imported["run_id"], "--limit", 60, "--json").json


def test_sft_prints_its_audit(world: World) -> None:
    assert world.trained["audit"]
    assert all(row["passed"] for row in world.trained["audit"])


def test_pairs_are_imported_with_their_audit(imported: Any) -> None:
    assert imported["summary"]["n_pairs"] == 18
    assert imported["audit"]["preferred_by"] == "import"
    assert imported["reused"] is False


def test_dpo_registers_an_adapter_whose_parent_is_the_sft_adapter(world: World, preferred: Any) -> None:
    adapter = resolve(world.tracking, "tiny-dpo@candidate")
    parent = resolve(world.tracking, "tiny-sft@candidate")
    assert adapter.parent == parent.digest == world.trained["digest"]
    assert adapter.digest == preferred["digest"] != parent.digest
    assert adapter.data_digest == parent.data_digest
    assert preferred["training"]["reference"]["largest_log_ratio"] == 0


def test_the_audit_of_a_preference_training_passes(preferred: Any) -> None:
    checks = {row["check"]: row for row in preferred["audit"]}
    for part in ("the reference is the frozen SFT adapter", "differs from its base and parent",
                 "no preference row is near", "no training example is near"):  # fmt: skip
        (row,) = [row for check, row in checks.items() if part in check]
        assert row["passed"] is True, row


def test_a_second_run_reuses_it_and_the_control_has_as_many_steps(world: World, imported: Any, preferred: Any) -> None:
    again = world.run("dpo", world.dpo, "--pairs", imported["run_id"], "--limit", 60, "--json").json
    assert again["reused"] is True
    control = world.run("dpo", world.dpo, "--pairs", imported["run_id"], "--limit", 60, "--control", "--json").json
    assert control["adapter"].startswith("tiny-dpo-chosen-sft/")
    for key in ("n_pairs", "n_steps", "n_tokens", "n_loss_tokens"):
        assert control["training"][key] == preferred["training"][key]
    assert control["training"]["loss_type"] == "sft"


def test_people_see_tables(world: World, imported: Any) -> None:
    shown = world.run("pairs", "audit", imported["run_id"])
    assert "Length gap, chosen − rejected" in shown.stdout
    assert world.run("pairs", "audit", world.pairs, "--json").json["n_pairs"] == 18


def test_what_cannot_be_used_is_refused_in_a_sentence(world: World, tmp_path: Path) -> None:
    same = tmp_path / "same.jsonl"
    same.write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}')
    refused = world.run("dpo", world.dpo, "--pairs", same, "--limit", 60)
    assert refused.code == 2
    assert "`chosen` and `rejected` must differ, they are the same" in refused.stderr
    other = tiny_checkpoint(tmp_path / "other", seed=1)
    stranger = tiny_preference_recipe(tmp_path / "stranger.yaml", other)
    refused = world.run("dpo", stranger, "--pairs", world.pairs, "--limit", 60)
    assert refused.code == 2
    assert "`parent` must be an adapter of the recipe's base" in refused.stderr
    refused = world.run("dpo", world.dpo, "--parent", "base", "--pairs", world.pairs)
    assert refused.code == 2
    assert "`parent` must be an SFT adapter" in refused.stderr
    refused = world.run("dpo", world.dpo, "--pairs", "0" * 32, "--limit", 60)
    assert refused.code == 2
    refused = world.run("dpo", world.dpo, "--pairs", world.pairs, "--limit", 60, "--split-seed", 8)
    assert refused.code == 2
    assert "split with the seed it was trained with" in refused.stderr
    assert not list(world.tracking.find(stage="dpo", status="FAILED"))


def test_pairs_are_counted_before_they_are_made(world: World) -> None:
    asked = ("--method", "reference", "--n", 5, "--limit", 60, "--dry-run", "--json")
    told = {
        c["what"]: c["found"]
        for c in world.run("pairs", "build", "--parent", "tiny-sft@candidate", *asked).json["checks"]
    }
    assert told["pairs"] == "at most 5, from 1 candidate each"
    assert "5 replies" in told["time"]


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (("sft", "sft"), "the adapter stands"),
        (("sft", "sft", "--seed", 9), "tokens/s, as one of its base trained here"),
        (("dpo", "dpo", "--seed", 9), "Train on preferences (tiny-dpo) would run"),
        (("generate", "tiny-sft@candidate"), "tokens/s, and"),
    ],
)
def test_a_dry_run_looks_at_it_and_makes_nothing(world: World, imported: Any, verb: tuple[Any, ...], said: str) -> None:
    name, what, *more = verb
    recipe = getattr(world, what, what)
    pairs = ("--pairs", imported["run_id"]) if name == "dpo" else ()
    before = {run.run_id for run in world.tracking.find(status=None)}
    ran = world.run(name, recipe, *pairs, *more, "--limit", 60, "--dry-run", "--json")
    assert any(said in check["found"] for check in ran.json["checks"]), ran.json["checks"]
    assert {run.run_id for run in world.tracking.find(status=None)} == before


def test_the_quickstart_prefers_on_top_of_its_fine_tuning(world: World, tmp_path: Path) -> None:
    """Its report compares the four, names what the pairs can show, and carries the training audit."""
    experiment = tiny_experiment(tmp_path / "experiment.yaml", prefers=True)
    arguments = ("--recipe", world.sft, "--dpo-recipe", world.dpo, "--experiment", experiment, "--limit", 60, "--json")
    told = world.run("quickstart", *arguments, "--dry-run").json
    assert {"task", "prompts", "stages"} <= {check["what"] for check in told["checks"]}
    result = world.run("quickstart", *arguments).json
    assert {v["name"] for v in result["variants"]} == {"base", "base-few-shot", "sft", "dpo"}
    names = [stage["name"] for stage in result["stages"]]
    assert names[:4] == ["prepare", "sft", "pairs", "dpo"]
    assert {e["contrast"] for e in result["estimates"] if "contrast" in e} == {"sft-base", "sft-few-shot", "dpo-sft"}
    record = json.loads((Path(result["report"]).parent / "report.json").read_text())["record"]
    assert any("the reference is the frozen SFT adapter" in row["label"] for row in record["audit"])
    assert all(row["is_passed"] is not False for row in record["audit"] if "chosen replies gained" not in row["label"])
    assert any("Nobody judged which is better" in said for said in record["limitations"])
    again = world.run("quickstart", *arguments).json
    assert all(stage["reused"] for stage in again["stages"])
