"""`accelerate launch` with two CPU processes against one process: the same recipe gives the same adapter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fakes import tiny_checkpoint
from stories import environment

from harness.artifacts import read_json
from harness.settings import Settings
from harness.tracking import RunInfo, Tracking

REPOSITORY = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5  # of a weight: sums over processes are taken in another order
ACCELERATE = [str(Path(sys.executable).with_name("accelerate")), "launch", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no"]
DDP = [*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--module", "pipelines.cli"]
FSDP = [*ACCELERATE, "--use_fsdp", "--fsdp_version", "2", "--num_processes", "2"]
SHARDED = [*FSDP, str(REPOSITORY / "tests" / "sharded_on_cpu.py")]

pytestmark = pytest.mark.slow


def recipe(folder: Path, base: Path, **optimizer: Any) -> Path:
    """Dropout and NEFTune on; seven packs, which two processes cannot share evenly."""
    settings = {
        "name": "tiny-together",
        "base": {"source": str(base), "revision": None},
        "quantization": "none",
        "precision": "fp32",
        "attention": "sdpa",
        "lora": {"rank": 4, "scale": 8, "dropout": 0.1, "targets": "all-linear", "dora": False},
        "data": {"train_tokens": 3400, "epochs": None, "pack_tokens": 512},
        "optimizer": {
            "name": "adamw",
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "warmup_steps": 1,
            "packs_per_step": 2,
            "weight_decay": 0.01,
            "max_grad_norm": 1.0,
            **optimizer,
        },
        "neftune_alpha": 5.0,
        "gradient_checkpointing": False,
        "validation": {"every_steps": 2, "max_tokens": 1500, "patience": None},
        "checkpoint_steps": 1,
        "log_steps": 1,
        "seed": 0,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("base"), kind="qwen2")


def train(start: list[str], file: Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = [*start, "sft", str(file), "--limit", "60"]
    own = environment(home, {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"})
    return subprocess.run(command, cwd=home.parent, env=own, capture_output=True, text=True, timeout=300, check=False)


def trained(home: Path) -> tuple[RunInfo, Path]:
    """The one training run of a home, and its folder."""
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    (run,) = tracking.find(status=None, stage="sft")
    return run, tracking.folder(run.run_id)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("alone") / "home"
    done = train([sys.executable, "-m", "pipelines.cli"], recipe(home.parent, base), home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize(("start", "kind"), [(DDP, "2 ddp"), (SHARDED, "2 fsdp")])
def test_two_processes_reach_the_adapter_of_one(start, kind, alone, base, tmp_path):
    home = tmp_path / "home"
    done = train(start, recipe(tmp_path, base), home)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Training audit") == 1, "the second process prints nothing"
    (one, one_folder), (two, two_folder) = trained(alone), trained(home)
    assert two.tags["fingerprint"] == one.tags["fingerprint"]
    assert (one.tags["processes"], two.tags["processes"]) == ("1 none", kind)
    first, second = read_json(one_folder / "training.json"), read_json(two_folder / "training.json")
    for key in ("n_steps", "n_tokens", "n_loss_tokens", "n_examples", "best_step"):
        assert second[key] == first[key], key
    for before, after in zip(first["curves"], second["curves"], strict=True):
        assert (after["name"], after["step"]) == (before["name"], before["step"])
        assert after["value"] == pytest.approx(before["value"], rel=1e-4), before["name"]
    here, there = weights(one_folder), weights(two_folder)
    assert here.keys() == there.keys()
    assert max(float((here[name] - there[name]).abs().max()) for name in here) <= TOLERANCE


def test_a_step_that_does_not_divide_is_refused(base, tmp_path):
    done = train(DDP, recipe(tmp_path, base, packs_per_step=3), tmp_path / "home")
    assert done.returncode != 0
    assert "`optimizer.packs_per_step` must divide among 2 processes, got 3" in done.stderr.replace("\n", " ")


def test_sharding_that_accelerate_would_leave_out_is_refused(base, tmp_path):
    done = train([*FSDP, "--module", "pipelines.cli"], recipe(tmp_path, base), tmp_path / "home")
    assert done.returncode != 0
    assert "FSDP needs GPUs, got cpu" in done.stderr
