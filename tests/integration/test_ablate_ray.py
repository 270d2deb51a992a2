"""A small ablation on a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from ablations import OWN, tiny_ablation
from fakes import tiny_checkpoint
from stories import REPOSITORY, command, environment, fresh_home, spawned
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


@contextlib.contextmanager
def nodes(head: dict[str, Any], *others: dict[str, Any]) -> Iterator[str]:
    """A cluster with these resources, for the time of the block."""
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    # Ray's own 15 leaves workers 3 % of a processor beside anything else: the suite's neighbours would starve them.
    chosen = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": path}
    with mock.patch.dict(os.environ, chosen):
        made = Cluster(initialize_head=True, head_node_args=head | {"include_dashboard": False})
        for other in others:
            made.add_node(**other)
        try:
            yield made.address
        finally:
            ray.shutdown()
            made.shutdown()


def test_an_ablation_outlives_a_worker_and_its_driver_and_a_gpu_trains_one_arm_at_a_time(tmp_path: Path) -> None:
    base, home, log = tiny_checkpoint(tmp_path / "base"), fresh_home(tmp_path / "mlruns"), tmp_path / "driver.log"
    measures = {
        "heldout_loss": {}, "asks_back": {"measure": "own_things:asks_back"},
        "politeness": {"judge": "own_things:polite"},
    }  # fmt: skip
    file = tiny_ablation(
        tmp_path / "ablation", base, seeds=[1], train_tokens=3000, measures=measures, controls=4,
        family={"measures": ["heldout_loss", "asks_back"]},
    )  # fmt: skip
    (tmp_path / "ablation" / "own_things.py").write_text(OWN)
    store = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    with nodes({"num_cpus": 1, "num_gpus": 1}, {"num_cpus": 1}) as address, log.open("w") as said:
        words = ("ablate", file, "--executor", "ray", "--address", address, "--workers", 2, "--gpus", 1, "--limit", 40)
        driver = subprocess.Popen(command(*words), env=environment(home), stdout=said, stderr=said)
        wait_until(lambda: _workers_at("ray::SFT"), process=driver, log=log, poll=0.02)[0].kill()
        wait_until(lambda: "its worker failed" in log.read_text(), process=driver, log=log)
        wait_until(lambda: store.originals(stage="sft"), process=driver, log=log)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert len(store.originals(stage="sft")) == 1, log.read_text()  # with one device no arm trains beside another
        again = spawned(*words, "--json", home=home).json  # stdout holds the result alone
    assert again["missing"] == {}
    counts = {"prepare": 1, "sft": 2, "heldout": 2, "generate": 2, "measure": 1, "judge": 2, "qualify": 1}
    assert again["stage_counts"].items() >= counts.items()
    keys = {e["key"] for e in again["estimates"]}
    assert keys >= {"heldout_loss/a5-none", "asks_back/a5-none", "politeness/a5-none"}
    assert any(stage["reused"] for stage in again["stages"])
    assert store.find(status="RUNNING") == []
    trained = store.originals(stage="sft")
    assert len(trained) == 2  # nothing twice
    infos = [store.client.get_run(run.run_id).info for run in trained]
    (_, first_ended), (second_began, _) = sorted((info.start_time, info.end_time) for info in infos)
    assert first_ended <= second_began


def _workers_at(task: str) -> list[psutil.Process]:
    """Ray's workers name themselves after what they do; those of this test's cluster alone."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if (process.cmdline() or [""])[0].startswith(task):
                found.append(process)
    return found


OWN_CLUSTER = """
import os
from harness.experiment.workers.ray_workers import RayWorkers
workers = RayWorkers(1, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"})
ray = workers._ray
print(len(ray.nodes()), ray.get(ray.remote(lambda: os.nice(0)).remote()) - os.nice(0))
workers.close()
"""


def test_a_cluster_of_its_own_starts_beside_another_and_its_workers_have_the_priority_of_the_driver(
    tmp_path: Path,
) -> None:
    with nodes({"num_cpus": 1}, {"num_cpus": 1}):
        env = {key: value for key, value in environment(tmp_path).items() if key != "RAY_worker_niceness"}
        done = subprocess.run([sys.executable, "-c", OWN_CLUSTER], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "0"], done.stderr


def test_a_remote_worker_refuses_a_sqlite_store() -> None:
    from harness.experiment.workers.ray_workers import refuse_sqlite

    with pytest.raises(InputError, match="MLflow server"):
        refuse_sqlite("sqlite:///runs.db")
    refuse_sqlite("http://tracking:5000")
