"""A small ablation on a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from ablations import tiny_ablation
from fakes import tiny_checkpoint
from stories import REPOSITORY, fresh_home, screentest

from harness.errors import InputError
from harness.settings import Settings
from harness.tracking import Tracking

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
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path}
    with mock.patch.dict(os.environ, quiet):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
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


def test_a_remote_worker_refuses_a_sqlite_store():
    from pipelines.ablate.ray_workers import refuse_sqlite

    with pytest.raises(InputError, match="MLflow server"):
        refuse_sqlite("sqlite:///runs.db")
    refuse_sqlite("http://tracking:5000")
