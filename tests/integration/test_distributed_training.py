"""`accelerate launch` with two CPU processes: killed and gone on with in another layout, the adapter of one process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from fakes import tiny_checkpoint
from stories import environment, fresh_home, tiny_preference_recipe
from training_data import sft_settings
from waiting import wait_until

from harness.settings import Settings
from harness.store.artifacts import read_json
from harness.store.tracking import RunInfo, Tracking

REPOSITORY = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5  # of a weight: sums over processes are taken in another order
ACCELERATE = [str(Path(sys.executable).with_name("accelerate")), "launch", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no"]
COMMAND = str(Path(sys.executable).with_name("screentest"))
DDP = [*ACCELERATE, "--multi_gpu", "--num_processes", "2", COMMAND]
FSDP = [*ACCELERATE, "--use_fsdp", "--fsdp_version", "2", "--num_processes", "2"]
FSDP += ["--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]
SHARDED = [*FSDP, str(REPOSITORY / "tests" / "sharded_on_cpu.py")]
ALONE = [sys.executable, "-m", "pipelines.cli"]

pytestmark = pytest.mark.slow


def recipe(folder: Path, base: Path, **optimizer: Any) -> Path:
    """Dropout and NEFTune on; an odd number of packs, which two processes cannot share evenly."""
    changes = {f"optimizer__{key}": value for key, value in {"warmup_steps": 1, **optimizer}.items()}
    changes |= {"name": "tiny-together", "precision": "fp32", "attention": "sdpa", "checkpoint_steps": 1}
    changes |= {"data__train_tokens": 12000, "data__pack_tokens": 512}
    settings = sft_settings(base, **changes, validation__every_steps=4, validation__max_tokens=1500)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("base"), kind="qwen2")


def begin(start: Sequence[str], *arguments: object, home: Path) -> subprocess.Popen[str]:
    """The command under a launcher, on few windows."""
    command = [*start, *(str(a) for a in arguments), "--limit", "60"]
    own = environment(home, {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"})
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=home.parent, env=own, stdout=pipe, stderr=pipe, text=True)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


def run(start: Sequence[str], *arguments: object, home: Path) -> Ended:
    """The command to its end."""
    process = begin(start, *arguments, home=home)
    stdout, stderr = process.communicate()
    return Ended(code=process.returncode, stdout=stdout, stderr=stderr)


def newest(home: Path) -> int:
    """Step of the newest checkpoint that is complete; 0 without one."""
    with contextlib.suppress(FileNotFoundError):  # one that is no longer kept goes while we look
        marks = home.glob("work/*/checkpoints/checkpoint-*/complete.json")
        return max((int(mark.parent.name.removeprefix("checkpoint-")) for mark in marks), default=0)
    return 0


def kill_at_a_checkpoint(process: subprocess.Popen[str], home: Path) -> None:
    """SIGKILL for the launcher and all that it started, two steps or more after what stood before it."""
    before = newest(home)
    wait_until(lambda: newest(home) >= before + 2, process=process, poll=0.005)
    for each in psutil.Process(process.pid).children(recursive=True):
        each.kill()
    process.kill()
    process.communicate()


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One training run of a home."""

    run: RunInfo
    training: dict[str, Any]
    weights: dict[str, torch.Tensor]


def trained(home: Path, stage: str, processes: str) -> Trained:
    """The one that so many processes have finished."""
    from safetensors.torch import load_file

    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    runs = [(run, tracking.folder(run.run_id)) for run in tracking.find(stage=stage)]
    read = [(run, folder, read_json(folder / "training.json")) for run, folder in runs]
    (found,) = [each for each in read if each[0].tags["processes"] == processes]
    run, folder, training = found
    return Trained(run=run, training=training, weights=load_file(folder / "adapter" / "adapter_model.safetensors"))


def assert_same(one: Trained, two: Trained) -> None:
    """The same fingerprint, tally and curves, and weights within the tolerance."""
    assert two.run.tags["fingerprint"] == one.run.tags["fingerprint"]
    counts = ("n_steps", "n_tokens", "n_loss_tokens", "n_examples", "n_pairs", "best_step")
    for key in counts:
        assert two.training.get(key) == one.training.get(key), key
    for before, after in zip(one.training["curves"], two.training["curves"], strict=True):
        assert (after["name"], after["step"]) == (before["name"], before["step"])
        assert after["value"] == pytest.approx(before["value"], rel=1e-4, abs=1e-5), before["name"]
    assert two.weights.keys() == one.weights.keys()
    assert max(float((one.weights[name] - two.weights[name]).abs().max()) for name in one.weights) <= TOLERANCE


# ── SFT ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which one process has trained the SFT adapter."""
    folder = tmp_path_factory.mktemp("alone")
    home = fresh_home(folder / "home")
    done = run(ALONE, "sft", recipe(folder, base), home=home)
    assert done.code == 0, done.stderr
    return home


def test_two_processes_killed_and_gone_on_with_in_other_layouts_reach_the_adapter_of_one(
    alone: Path, base: Path, tmp_path: Path
) -> None:
    home, file = fresh_home(tmp_path / "home"), recipe(tmp_path, base)
    kill_at_a_checkpoint(begin(DDP, "sft", file, home=home), home)
    kill_at_a_checkpoint(begin(SHARDED, "sft", file, home=home), home)
    done = run(ALONE, "sft", file, home=home)
    assert done.code == 0, done.stderr[-3000:]
    resumed = trained(home, "sft", "1 none")
    assert resumed.training["resumed_from"] >= 4
    assert_same(trained(alone, "sft", "1 none"), resumed)


# ── DPO ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def preferring(alone: Path, base: Path) -> list[str]:
    """What trains the SFT adapter of that home on preferences: 17 pairs, in packs that do not divide evenly."""
    folder = alone.parent
    rows = [
        {"prompt": f"Where is number {row}?", "chosen": f"Here, {row}.", "rejected": "zz " * (1 + row % 4),
         "cluster": f"f{row % 6}"}
        for row in range(24)
    ]  # fmt: skip
    pairs = folder / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    changes = {"parent": "tiny-together@candidate", "data__n_pairs": 17, "data__epochs": 2, "validation__n_pairs": 4}
    changes |= {"optimizer__packs_per_step": 2, "validation__every_steps": 4, "precision": "fp32"}
    file = tiny_preference_recipe(folder / "dpo.yaml", base, **changes)
    return ["dpo", str(file), "--pairs", str(pairs)]


def test_two_processes_killed_and_gone_on_with_prefer_as_one(alone: Path, preferring: list[str]) -> None:
    """Its reference answers lie with the checkpoints."""
    kill_at_a_checkpoint(begin(DDP, *preferring, home=alone), alone)
    for start, more in ((ALONE, []), (SHARDED, ["--force"])):
        done = run(start, *preferring, *more, home=alone)
        assert done.code == 0, done.stderr[-3000:]
        assert done.stdout.count("Training audit") == 1, "the second process prints nothing"
    resumed, whole = (trained(alone, "dpo", kind) for kind in ("1 none", "2 fsdp"))
    assert resumed.training["resumed_from"] >= 2
    assert whole.training["reference"]["largest_log_ratio"] <= 1e-4
    assert_same(whole, resumed)


def test_sharding_that_accelerate_would_leave_out_is_refused(base: Path, tmp_path: Path) -> None:
    start = [*FSDP, COMMAND]
    done = run(start, "sft", recipe(tmp_path, base), home=fresh_home(tmp_path / "home"))
    assert done.code != 0
    assert "FSDP needs GPUs, got cpu" in done.stderr
