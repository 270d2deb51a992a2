"""`mlflow run .` in a copy of the checkout: the child adopts the run and the store that it inherits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ablations import tiny_ablation
from fakes import tiny_checkpoint
from stories import FOREIGN, REPOSITORY

from harness.settings import Settings
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mlflow run` looks at, with the experiments beside it."""
    folder = tmp_path_factory.mktemp("project") / "checkout"
    folder.mkdir()
    for name in ("MLproject", "python_env.yaml"):
        shutil.copyfile(REPOSITORY / name, folder / name)
    for name in ("experiments", "harness", "pipelines"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mlruns").mkdir()  # as `make mlflow-run` does; the store in it is made by MLflow
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


def environment(checkout: Path) -> dict[str, str]:
    """As the activated environment gives it."""
    kept = {k: v for k, v in os.environ.items() if k not in FOREIGN and not k.startswith("SCREENTEST_")}
    uri = f"sqlite:///{checkout / 'mlruns' / 'mlflow.db'}"
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(checkout)}


def mlflow_run(checkout: Path, entry: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "mlflow"), "run", ".", "--env-manager", "local", "-e", entry]
    for parameter in parameters:
        command += ["-P", parameter]
    return subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ran(checkout: Path, base: Path) -> subprocess.CompletedProcess[str]:
    done = mlflow_run(checkout, "prepare", "corpus=sample", f"base={base}")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def tracking(checkout: Path, ran: Done) -> Tracking:
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(checkout / "mlruns")}))


def test_the_child_adopts_the_run_that_mlflow_made(ran: Done, tracking: Tracking) -> None:
    (run,) = tracking.find(stage="prepare", status=None)
    assert run.status == "FINISHED"
    assert run.tags["mlflow.project.entryPoint"] == "prepare"  # MLflow's own mark and ours on one run
    assert run.tags["output_digest"]
    assert run.tags["corpus"] == "sample"
    assert run.run_id in ran.stdout
    assert tracking.client.get_run(run.run_id).data.params["corpus"] == "sample"


def test_everything_lies_under_the_one_home(ran: Done, tracking: Tracking, checkout: Path) -> None:
    (run,) = tracking.find(stage="prepare", status=None)
    folder = tracking.folder(run.run_id)
    assert (folder / "manifest.json").is_file()
    assert (folder / "summary.json").is_file()
    assert folder.is_relative_to(checkout / "mlruns")
    # A store of MLflow's own making would lie here.
    assert not (checkout / "mlflow.db").exists()


def test_a_stage_of_another_road_is_reused(ran: Done, checkout: Path, base: Path, tracking: Tracking) -> None:
    """`screentest prepare` with nothing set finds what `mlflow run` has done, and leaves no run of its own."""
    env = {k: v for k, v in environment(checkout).items() if k != "MLFLOW_TRACKING_URI"}
    program = "from pipelines.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "prepare", "--corpus", "sample", "--base", str(base), "--seed", "7"],
        cwd=checkout, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["reused"] is True
    assert [run.run_id for run in tracking.find(stage="prepare", status=None)] == [result["run_id"]]


def test_a_run_that_fails_fails_for_mlflow_too(checkout: Path, ran: Done, tracking: Tracking) -> None:
    done = mlflow_run(checkout, "prepare", "corpus=casablanca")
    assert done.returncode != 0
    assert "`casablanca`" in done.stderr
    newest = tracking.find(status=None, limit=1)[0]
    assert newest.status == "FAILED"


def test_an_ablation_adopts_the_run_and_nests_its_arms_under_it(
    checkout: Path, base: Path, ran: Done, tracking: Tracking
) -> None:
    quick = {"recipes": {"sft": "recipe.yaml"}, "seeds": [1]}
    tiny_ablation(checkout / "ablation", base, measures={"heldout_loss": {}}, profiles={"quick": quick})
    done = mlflow_run(checkout, "ablate", "config=ablation/ablation.yaml", "profile=quick", "workers=1")
    assert done.returncode == 0, done.stderr
    (run,) = tracking.find(stage="ablate")
    assert run.tags["mlflow.project.entryPoint"] == "ablate"
    arms = [child for child in tracking.children(run.run_id) if child.stage == "arm"]
    assert sorted(arm.name for arm in arms) == ["a5 · 1", "none · 1"]
    assert all(tracking.folder(r.run_id).is_relative_to(checkout) for r in tracking.find(stage="sft"))
