"""`docs/scale.md`'s lines for arms over several machines, on two with an address, a home and a `/tmp/ray` each."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import psutil
import pytest
from ablations import tiny_ablation
from fakes import tiny_checkpoint
from machines import Machine, machines
from stories import REPOSITORY
from waiting import wait_until

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="Ray comes with screentest[cluster]")

DOCUMENT = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.split("## Arms over several machines")[1]
LINES = re.search(r"```sh\n(.*?)```", SECTION, flags=re.DOTALL).group(1).splitlines()  # type: ignore[union-attr]


def line(beginning: str) -> str:
    """The one of the page that begins so."""
    (found,) = [each for each in LINES if each.startswith(beginning)]
    return found


def trains(machine: Machine) -> bool:
    """Whether one of Ray's workers on it is at an SFT stage: they name themselves after what they do."""
    for process in machine.processes():
        try:
            if (process.cmdline() or [""])[0].startswith("ray::SFT"):
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def test_two_machines_run_an_ablation_and_one_of_them_is_lost(tmp_path: Path) -> None:
    base = tiny_checkpoint(tmp_path / "base")
    file = tiny_ablation(tmp_path / "a", base, seeds=[1], train_tokens=3000, measures={"heldout_loss": {}})
    variable, _, token = line("export RAY_AUTH").removeprefix("export ").partition("=")
    ray = {variable: token, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    node = " --num-cpus 1 --block"
    with machines(2, tmp_path) as (head, other):
        logs = {name: tmp_path / f"{name}.log" for name in ("store", "token", "head", "other", "driver")}
        server = (
            f"mlflow server --backend-store-uri sqlite:///{tmp_path}/runs.db --artifacts-destination {tmp_path}/files "
            f"--host 0.0.0.0 --port 5000 --workers 1 --allowed-hosts {head.address}:5000"
        )
        head.start(server, logs["store"], MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        assert head.start(line("ray get-auth-token"), logs["token"], **ray).wait() == 0
        shutil.copytree(head.disk / "home" / ".ray", other.disk / "home" / ".ray")
        node_of_head = head.start(line("ray start --head") + node, logs["head"], **ray)
        wait_until(lambda: "Ray runtime started" in logs["head"].read_text(), log=logs["head"], process=node_of_head)
        join = line("ray start --address").replace("head.example.org", head.address)
        node_of_other = other.start(join + node, logs["other"], **ray)
        wait_until(lambda: "Ray runtime started" in logs["other"].read_text(), log=logs["other"], process=node_of_other)
        wait_until(lambda: "startup complete" in logs["store"].read_text(), log=logs["store"])

        told = line("screentest ablate").replace("experiments/ablations/neftune.yaml --profile full", str(file))
        address, _, url = line("export MLFLOW").removeprefix("export ").partition("=")
        shared = {address: url.replace("tracking.example.org", head.address)}
        result = tmp_path / "result.json"
        driver = head.start(f"{told} --limit 40 --json > {result}", logs["driver"], **ray, **shared)
        wait_until(lambda: trains(other), log=logs["driver"], process=driver)
        other.lose_power()
        assert driver.wait() == 0, logs["driver"].read_text()
    found = json.loads(result.read_text())
    assert found["missing"] == {}
    assert found["stage_counts"] == {"prepare": 1, "sft": 2, "heldout": 2}
    assert "node it was running on is dead" in " ".join(logs["driver"].read_text().split())
