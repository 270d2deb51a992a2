"""The whole story on a tiny base: one command, run again, traced, rendered, and killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from fakes import tiny_checkpoint
from stories import Ran, environment, fresh_home, screentest, tiny_experiment, tiny_recipe

from harness.settings import Settings
from harness.store.artifacts import read_json
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow


class World:
    """A base, a recipe and an experiment, and the command that everything here runs."""

    def __init__(self, folder: Path) -> None:
        self.base = tiny_checkpoint(folder / "base")
        # Enough tokens for several optimiser steps, so that there is a middle to be killed in.
        self.recipe = tiny_recipe(folder / "recipe.yaml", self.base, data__train_tokens=6000)
        self.experiment = tiny_experiment(folder / "experiment.yaml")

    def arguments(self, *more: object) -> list[object]:
        files = ("--recipe", self.recipe, "--experiment", self.experiment)
        return ["quickstart", "--corpus", "sample", *files, "--limit", 60, "--json", *more]

    def run(self, home: Path, *more: object) -> Ran:
        return screentest(*self.arguments(*more), home=home)

    def dies(self, home: Path, *, after: str) -> None:
        """Run the command in a process that kills itself with SIGKILL where `after` says."""
        program = textwrap.dedent(after) + "\nfrom pipelines.cli import main\nmain()\n"
        arguments = [str(a) for a in self.arguments()]
        process = subprocess.run(
            [sys.executable, "-c", program, *arguments], env=environment(home), capture_output=True
        )
        assert process.returncode == -signal.SIGKILL, process.stderr.decode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_home(tmp_path_factory.mktemp("undisturbed") / "mlruns")


@pytest.fixture(scope="module")
def first(world: World, home: Path) -> Any:
    return world.run(home).json


@pytest.fixture(scope="module")
def tracking(home: Path, first: Any) -> Tracking:
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))


def numbers(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Every estimate with all it says and the digests of its rows; run ids differ from home to home."""
    kept = []
    for estimate in result["estimates"]:
        sources = [{k: s[k] for k in ("artifact", "where", "digest")} for s in estimate["sources"]]
        kept.append({**estimate, "sources": sources})
    return kept


def test_the_result_has_the_keys_that_others_script_against(first: Any, home: Path) -> None:
    assert set(first) >= {"report", "experiment_id", "elapsed_seconds", "stages", "variants", "estimates"}
    assert Path(first["report"]).is_file()
    assert [v["name"] for v in first["variants"]] == ["base", "base-few-shot", "sft"]
    for stage in first["stages"]:
        assert set(stage) >= {"name", "run_id", "reused"}
        assert stage["reused"] is False
    names = [stage["name"] for stage in first["stages"]]
    assert names == ["prepare", "sft"] + ["generate"] * 3 + ["heldout"] * 3 + ["metrics"] + ["measure"] * 2 + [
        "analyse"
    ]
    # The whole command is timed, training included.
    assert first["elapsed_seconds"] >= sum(stage["seconds"] for stage in first["stages"])


def test_every_estimate_has_interval_n_and_missing(first: Any) -> None:
    keys = {"name", "value", "low", "high", "n", "n_clusters", "n_missing", "method"}
    for estimate in first["estimates"]:
        assert estimate.keys() >= keys
        assert ("variant" in estimate) != ("contrast" in estimate)
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    loss = [e for e in first["estimates"] if e["name"] == "heldout_loss"]
    assert {e.get("variant") for e in loss} == {"base", "base-few-shot", "sft", None}
    assert {e.get("contrast") for e in loss} == {"sft-base", "sft-few-shot", None}
    assert all((e["n"], e["n_clusters"], e["n_missing"]) == (30, 10, 0) for e in loss)


def test_training_shows_in_the_held_out_loss(first: Any) -> None:
    (contrast,) = [e for e in first["estimates"] if e["key"] == "heldout_loss/sft-base"]
    assert contrast["high"] < 0
    assert contrast["verdict"] == "better"


def test_a_second_run_reuses_every_stage_and_says_so(world: World, home: Path, first: Any, tracking: Tracking) -> None:
    second = world.run(home)
    assert [s["reused"] for s in second.json["stages"]] == [True] * len(first["stages"])
    assert numbers(second.json) == numbers(first)
    for before, after in zip(first["stages"], second.json["stages"], strict=True):
        assert after["reused_from"] == after["run_id"] == before["run_id"]
    reused = {run.run_id for run in tracking.children(second.json["run_id"])}
    assert reused == {stage["run_id"] for stage in first["stages"]}


def test_runs_and_artifacts_lie_in_the_home_under_our_experiment(first: Any, home: Path, tracking: Tracking) -> None:
    experiment = tracking.client.get_experiment(first["experiment_id"])
    assert experiment.name == "screentest"
    for stage in first["stages"]:
        folder = tracking.folder(stage["run_id"])
        assert folder.is_relative_to(home / "artifacts")
        assert (folder / "manifest.json").is_file()
    assert not any((home / "work").glob("*-*/"))  # nothing is left half done


def test_every_number_leads_to_rows_that_are_intact(first: Any, home: Path) -> None:
    for estimate in first["estimates"]:
        walked = screentest("trace", first["run_id"], estimate["key"], "--json", home=home).json
        assert walked["sources"], estimate["key"]
        for source in walked["sources"]:
            assert source["is_intact"]
            assert source["n_rows"] == estimate["n"] + estimate["n_missing"]
            assert source["fingerprint"]


def test_an_altered_row_is_noticed(first: Any, home: Path, tracking: Tracking) -> None:
    (source,) = next(e["sources"] for e in first["estimates"] if e["key"] == "heldout_loss/base")
    path = tracking.folder(source["run_id"]) / source["artifact"]
    kept = path.read_bytes()
    pq.write_table(pq.read_table(path).slice(1), path)
    try:
        ran = screentest("trace", "latest", "heldout_loss/base", home=home)
        assert ran.code == 1
        assert "altered" in ran.stdout
    finally:
        path.write_bytes(kept)


def test_the_report_can_be_rendered_again_elsewhere(first: Any, home: Path, tmp_path: Path) -> None:
    ran = screentest("report", "latest", "--out", tmp_path / "again", "--json", home=home)
    for key in ("report", "markdown", "json"):
        assert Path(ran.json[key]).parent == tmp_path / "again"
    html = Path(ran.json["report"]).read_text()
    assert html == Path(first["report"]).read_text()
    assert screentest("report", first["run_id"], "--out", tmp_path / "by-id", home=home).code == 0


def test_the_adapter_is_registered_with_its_origin(first: Any, home: Path, tracking: Tracking) -> None:
    (adapter,) = screentest("adapters", "list", "--json", home=home).json["adapters"]
    assert adapter["aliases"] == ["candidate"]
    prepared = next(s for s in first["stages"] if s["name"] == "prepare")
    assert adapter["data_digest"] == tracking.run(prepared["run_id"]).tags["output_digest"]
    assert adapter["run_id"] == next(s for s in first["stages"] if s["name"] == "sft")["run_id"]
    assert adapter["metrics"]["validation_loss"] > 0


def test_the_declaration_is_tagged_before_the_first_reply_and_looks_are_counted(first: Any, tracking: Tracking) -> None:
    record = read_json(Path(first["report"]).with_name("report.json"))["record"]
    assert record["declaration"]["status"] == "before"
    assert record["declaration"]["n_test_looks"] == 1
    for stage in first["stages"]:
        if stage["name"] == "generate":
            assert record["declaration"]["digest"] in tracking.run(stage["run_id"]).tags["declaration"].split()


def test_questions_changed_after_the_replies_say_so(world: World, home: Path, first: Any, tmp_path: Path) -> None:
    changed = yaml.safe_load(world.experiment.read_text())
    for measure in changed["measures"].values():
        if measure and "smallest_effect" in measure:
            measure["smallest_effect"]["value"] *= 2
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(changed))
    result = world.run(home, "--experiment", tmp_path / "changed.yaml").json
    assert [s["name"] for s in result["stages"] if not s["reused"]] == ["analyse"]
    record = read_json(Path(result["report"]).with_name("report.json"))["record"]
    assert record["declaration"]["status"] in ("partly", "after")
    assert record["declaration"]["late"]
    assert record["declaration"]["n_test_looks"] == 2
    assert {*record["declaration"]["question_looks"].values()} <= {1, 2}
    assert "declared after" in Path(result["report"]).read_text().lower()


def test_an_adapter_is_not_asked_about_its_own_training_films(world: World, home: Path, first: Any) -> None:
    compared = ("compare", world.base, "tiny-sft@candidate", "--corpus", "sample", "--prompts", 10)
    other = tiny_recipe(world.recipe.with_name("other.yaml"), world.base, name="other-split", data__train_tokens=1000)
    trained = screentest("sft", other, "--split-seed", 3, "--limit", 60, "--json", home=home)
    assert trained.code == 0, trained.stderr
    ran = screentest(*(str(a).replace("tiny-sft", "other-split") for a in compared), home=home)
    assert ran.code == 2
    assert "was trained on" in ran.stderr


TRAINING = """
    import os, signal
    from harness.store.tracking import Stage
    log, seen = Stage.log_metric, []
    def dying(self, name, value, step=None):
        log(self, name, value, step)
        seen.append(name)
        if seen.count("train/loss") == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    Stage.log_metric = dying
"""
GENERATION = """
    import os, signal
    from harness.store.artifacts import Journal
    append, seen = Journal.append, []
    def dying(self, *nouns):
        append(self, *nouns)
        seen.extend(nouns)
        if len(seen) == 30:  # in the middle of the second variant
            os.kill(os.getpid(), signal.SIGKILL)
    Journal.append = dying
"""


def test_killed_in_training_and_generation_it_ends_with_equal_numbers(world: World, first: Any, tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "killed")
    world.dies(home, after=TRAINING)
    assert list((home / "work").glob("sft-*/checkpoints/*"))
    world.dies(home, after=GENERATION)
    (journal,) = (home / "work").glob("generate-*/generations.jsonl")
    assert len(journal.read_text().splitlines()) == 6
    with journal.open("a") as stream:
        stream.write('{"prompt_id": "torn in the mid')  # what a kill inside a write leaves

    ended = world.run(home)
    assert numbers(ended.json) == numbers(first)
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    trained, generated = (
        [r for r in tracking.find(stage=name, status=None) if "reused_from" not in r.tags]
        for name in ("sft", "generate")
    )
    assert len(trained) == 1  # resumed in the run that was killed, not begun anew
    assert read_json(tracking.folder(trained[0].run_id) / "training.json")["resumed_from"] >= 1
    assert len(generated) == 3
    assert len(screentest("adapters", "list", "--json", home=home).json["adapters"]) == 1
    assert not any((home / "work").glob("*-*/"))


def test_a_seed_gives_the_same_replies_in_any_home_and_force_runs_again(world: World, home: Path, first: Any) -> None:
    forced = world.run(home, "--force").json
    assert not any(stage["reused"] for stage in forced["stages"])
    assert numbers(forced) == numbers(first)
