"""A small ablation on a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psutil
import pytest
from ablations import tiny_ablation
from fakes import tiny_checkpoint
from stories import REPOSITORY, command, environment, fresh_home, screentest
from waiting import wait_until

from harness.errors import InputError
from harness.settings import Settings
from harness.store.tracking import Tracking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes to the interpreter
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ray = pytest.importorskip("ray", reason="Ray comes with screentest[cluster]")


@pytest.fixture
def cluster() -> Iterator[str]:
    """Two nodes with one core each."""
    with nodes({"num_cpus": 1}, {"num_cpus": 1}) as address:
        yield address


@contextlib.contextmanager
def nodes(head: dict[str, int], *others: dict[str, int]) -> Iterator[str]:
    """A cluster with these resources, for the time of the block."""
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path}
    with mock.patch.dict(os.environ, quiet):
        made = Cluster(initialize_head=True, head_node_args=head | {"include_dashboard": False})
        for other in others:
            made.add_node(**other)
        try:
            yield made.address
        finally:
            ray.shutdown()
            made.shutdown()


def test_two_nodes_run_an_ablation(cluster: str, tmp_path: Path):
    base = tiny_checkpoint(tmp_path / "base")
    file = tiny_ablation(tmp_path / "ablation", base, seeds=[1], measures={"heldout_loss": {}})
    home = fresh_home(tmp_path / "mlruns")
    options = ("--executor", "ray", "--address", cluster, "--workers", 2, "--limit", 40, "--json")
    result = screentest("ablate", file, *options, home=home).json
    assert result["missing"] == {}
    assert result["stage_counts"] == {"prepare": 1, "sft": 2, "heldout": 2}
    assert {e["key"] for e in result["estimates"]} >= {"heldout_loss/a5-none"}
    store = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    assert store.find(status="RUNNING") == []


def test_a_killed_driver_is_followed_by_one_that_goes_on_and_a_gpu_trains_one_arm_at_a_time(tmp_path: Path):
    base = tiny_checkpoint(tmp_path / "base")
    file = tiny_ablation(tmp_path / "ablation", base, seeds=[1], measures={"heldout_loss": {}})
    home = fresh_home(tmp_path / "mlruns")
    store = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    log = tmp_path / "driver.log"
    with nodes({"num_cpus": 2, "num_gpus": 1}) as address, log.open("w") as said:
        options = ("--executor", "ray", "--address", address, "--workers", 2, "--gpus", 1, "--limit", 40, "--json")
        driver = subprocess.Popen(command("ablate", file, *options), env=environment(home), stdout=said, stderr=said)
        wait_until(lambda: store.originals(stage="sft"), process=driver, log=log)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        done = store.originals(stage="sft")
        assert len(done) == 1, log.read_text()  # with one device no second arm was trained beside the first
        again = screentest("ablate", file, *options, home=home).json
    assert again["missing"] == {}
    assert any(stage["reused"] for stage in again["stages"])
    trained = store.originals(stage="sft")
    assert len(trained) == 2  # nothing twice
    infos = [store.client.get_run(run.run_id).info for run in trained]
    (_, first_ended), (second_began, _) = sorted((info.start_time, info.end_time) for info in infos)
    assert first_ended <= second_began


def test_a_worker_that_dies_is_replaced_and_stdout_holds_the_result_alone(cluster: str, tmp_path: Path):
    base = tiny_checkpoint(tmp_path / "base")
    file = tiny_ablation(tmp_path / "ablation", base, seeds=[1], train_tokens=6000, measures={"heldout_loss": {}})
    options = ("--executor", "ray", "--address", cluster, "--workers", 2, "--json")
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(
            command("ablate", file, *options),
            env=environment(fresh_home(tmp_path / "mlruns")),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        wait_until(lambda: _workers_at("ray::SFT"), process=driver, poll=0.02)[0].kill()
        printed, _ = driver.communicate()
    assert driver.returncode == 0, (tmp_path / "log").read_text()
    result = json.loads(printed)
    assert result["missing"] == {}
    assert "its worker failed" in (tmp_path / "log").read_text()


def _workers_at(task: str) -> list[psutil.Process]:
    """Ray's workers name themselves after what they do."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith(task):
            found.append(process)
    return found


def test_a_remote_worker_refuses_a_sqlite_store():
    from harness.experiment.workers.ray_workers import refuse_sqlite

    with pytest.raises(InputError, match="MLflow server"):
        refuse_sqlite("sqlite:///runs.db")
    refuse_sqlite("http://tracking:5000")
