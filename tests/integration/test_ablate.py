"""A small ablation for real: shared stages once, arms on one page, a killed driver, a failing arm."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ablations import tiny_ablation
from fakes import tiny_checkpoint
from stories import command, environment, fresh_home, screentest
from waiting import wait_until

from harness.settings import Settings
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return tiny_ablation(tmp_path_factory.mktemp("ablation"), base)


def arguments(file: Path, *more: object) -> list[object]:
    return ["ablate", file, "--limit", 40, "--json", *more]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_home(tmp_path_factory.mktemp("two-workers") / "mlruns")


@pytest.fixture(scope="module")
def first(file: Path, home: Path) -> Any:
    """Two workers that log through a server of the driver's."""
    return screentest(*arguments(file, "--workers", 2), home=home).json


@pytest.fixture(scope="module")
def tracking(home: Path, first: Any) -> Tracking:
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))


def numbers(result: Any) -> list[dict[str, Any]]:
    keys = ("key", "value", "low", "high", "n", "n_missing", "verdict")
    return [{key: estimate[key] for key in keys} for estimate in result["estimates"]]


def test_shared_stages_run_once(first: Any, tracking: Tracking) -> None:
    assert first["stage_counts"] == {"prepare": 1, "sft": 6, "generate": 6, "heldout": 6, "metrics": 1}
    for kind, n in first["stage_counts"].items():
        done = [r for r in tracking.find(stage=kind) if "reused_from" not in r.tags]
        assert len(done) == n, kind
    assert first["missing"] == {}


def test_the_numbers_have_their_degrees_of_freedom(first: Any) -> None:
    (contrast,) = [e for e in first["estimates"] if e["key"] == "heldout_loss/a5-none"]
    assert contrast["df"] >= 2  # three seeds
    assert contrast["n"] == 20  # prompts, each once a seed
    assert (contrast["n_crossed"], contrast["crossed"]) == (3, "seed")


def test_arms_nest_under_one_parent_with_their_settings(first: Any, tracking: Tracking) -> None:
    children = tracking.children(first["run_id"])
    arms = [run for run in children if run.stage == "arm"]
    assert sorted(run.name for run in arms) == [f"{arm} · {seed}" for arm in ("a5", "none") for seed in (1, 2, 3)]
    assert all(run.status == "FINISHED" for run in arms)
    (one,) = [run for run in arms if run.name == "a5 · 2"]
    recorded = tracking.client.get_run(one.run_id).data
    assert recorded.params == {"arm": "a5", "seed": "2", "sft.neftune_alpha": "5"}
    assert recorded.metrics["arm/heldout_loss"] > 0
    # The arm's own stages lie under it, the shared one under the parent.
    assert {run.stage for run in tracking.children(one.run_id)} == {"sft", "generate", "heldout"}
    assert "prepare" in {run.stage for run in children}


def test_the_server_is_gone_and_left_nothing_running(first: Any, tracking: Tracking) -> None:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tracking.settings.home) not in "\n".join(line for line in listed.splitlines() if "mlflow" in line)
    assert tracking.find(status="RUNNING") == []


def test_artifacts_lie_in_the_home(first: Any, tracking: Tracking, home: Path) -> None:
    for run in tracking.find(stage="sft"):
        assert tracking.folder(run.run_id).is_relative_to(home)


def test_a_second_call_reuses_every_stage_and_says_the_same(first: Any, file: Path, home: Path) -> None:
    told = screentest(*arguments(file, "--dry-run"), home=home).json
    assert {c["what"]: c["found"] for c in told["checks"]}["stages"] == "20 of 20 stand"
    again = screentest(*arguments(file, "--workers", 1), home=home).json
    assert all(stage["reused"] for stage in again["stages"])
    assert numbers(again) == numbers(first)


def test_its_seeds_are_a_pilot_for_the_next(first: Any, home: Path) -> None:
    """The plan knows what the contrast knows: three seeds show its own effect as surely as the components say."""
    (contrast,) = [e for e in first["estimates"] if e["key"] == "heldout_loss/a5-none"]
    asked = ("power", "seeds", first["run_id"], "--measure", "heldout_loss", "--treatment", "a5", "--control", "none")
    ran = screentest(*asked, "--seeds", 3, home=home)
    assert f"pilot: 20 prompts, {contrast['n_clusters']} clusters, 3 seeds; a5 − none, in bits per byte" in ran.stderr
    assert ran.stdout.startswith(f"3 seeds on {contrast['n_clusters']} clusters show a true difference of ")
    assert screentest("power", "simulate", first["run_id"], *asked[3:], "--films", 9, home=home).code == 2


def test_the_report_shows_the_design_and_each_seed(first: Any) -> None:
    page = Path(first["report"]).read_text()
    for words in ("From seed to seed", "Held still", "sft.neftune_alpha", "Cost", "3 training seeds"):
        assert words in page
    markdown = Path(first["report"]).with_suffix(".md").read_text()
    assert "## From seed to seed" in markdown


def test_after_a_killed_driver_another_ends_with_the_same_numbers(first: Any, file: Path, tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "mlruns")
    words = command(*arguments(file, "--workers", 1))
    driver = subprocess.Popen(words, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    store = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    wait_until(lambda: store.originals(stage="sft"), process=driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    n_done = len(store.originals(stage="sft"))
    assert 1 <= n_done < 6
    again = screentest(*arguments(file, "--workers", 1), home=home).json
    assert numbers(again) == numbers(first)
    assert any(stage["reused"] for stage in again["stages"])
    trained = [r for r in store.find(stage="sft") if "reused_from" not in r.tags]
    assert len(trained) == 6  # nothing twice
    assert store.find(status="RUNNING") == []
    assert len(store.find(stage="ablate", status="KILLED")) == 1


def test_an_arm_that_fails_is_tried_again_and_reported_missing(base: Path, tmp_path: Path) -> None:
    """A learning rate that makes the loss no number: the training refuses to go on, each time."""
    file = tiny_ablation(
        tmp_path / "failing", base, factor="sft.optimizer.learning_rate", train_tokens=3000,
        arms={"none": {"sft.optimizer.learning_rate": 0.01}, "mild": {"sft.optimizer.learning_rate": 0.005},
              "wild": {"sft.optimizer.learning_rate": 100}},
        fixed={"sft.optimizer.weight_decay": 100},  # a step multiplies weights by 1 − their product
        contrasts=[{"name": "mild-none", "arms": ["mild", "none"]}, {"name": "wild-none", "arms": ["wild", "none"]}],
        seeds=[1], measures={"heldout_loss": {}},
    )  # fmt: skip
    home = fresh_home(tmp_path / "mlruns")
    result = screentest(*arguments(file, "--workers", 1), home=home).json
    assert list(result["missing"]) == ["wild · 1"]
    assert "must stay a number" in result["missing"]["wild · 1"]
    values = {e["key"]: e["value"] for e in result["estimates"]}
    assert values["heldout_loss/mild-none"] is not None
    assert values["heldout_loss/wild-none"] is None
    assert [(a["kind"], a["variants"]) for a in result["absences"]] == [("failed", ["wild"])]
    store = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    (lost,) = [run for run in store.find(stage="arm", status="FAILED")]
    assert lost.name == "wild · 1"
    assert "wild · 1" in Path(result["report"]).read_text()


def test_what_cannot_be_run_is_refused_with_code_2_before_any_run_exists(base: Path, tmp_path: Path) -> None:
    file = tiny_ablation(tmp_path / "bad", base, contrasts=[{"name": "x", "arms": ["a5", "a6"]}])
    home = fresh_home(tmp_path / "mlruns")
    ran = screentest("ablate", file, home=home)
    assert ran.code == 2
    assert "names the arm 'a6'" in ran.stderr
    assert Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)})).find(status=None) == []
