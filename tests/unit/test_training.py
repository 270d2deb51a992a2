"""What holds for every training method: the same adapter again, also after a kill; silence; every key read."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_checkpoint
from preference_data import pairs_folder, parent_of, prepared_sample
from pydantic import BaseModel
from stories import EXPERIMENTS, REPOSITORY
from training_data import dpo_settings, sft_settings, windows_folder

from harness.config import StrictConfig, load_yaml, parse
from harness.errors import ConfigError, StageError
from harness.store.artifacts import digest_folder, to_json
from harness.types import Adapter, Progress
from pipelines.training.checkpoints import MARK
from pipelines.training.methods import METHODS, Runner
from pipelines.training.processes import Processes
from pipelines.training.recipe import TrainingRecipe

SETTINGS = {"sft": sft_settings, "dpo": dpo_settings}
RECIPES = [path for name in SETTINGS for path in sorted((EXPERIMENTS / "recipes" / name).glob("*.yaml"))]
ABLATED = {"embedded-quick", "pretrained-quick"}  # short enough to repeat over arms and seeds


def recipe_of(path: Path) -> Any:
    return load_yaml(path, METHODS[path.parent.name].runner.RECIPE)


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """A method with what a tiny training of it needs."""

    name: str
    base: Path
    inputs: Mapping[str, Any]
    folder: Path  # of a finished training

    @property
    def runner(self) -> Runner:
        return METHODS[self.name].runner

    def recipe(self, **changes: Any) -> TrainingRecipe:
        return parse(SETTINGS[self.name](self.base, **changes), self.runner.RECIPE, where="test")

    def run(self, folder: Path, *, on: Mapping[str, Any] | None = None, **changes: Any) -> Any:
        return self.runner.run(self.recipe(**changes), folder=folder, **self.inputs, **(on or {}))

    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "training.json").read_text()))


@pytest.fixture(scope="module", params=list(SETTINGS))
def trainee(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trainee:
    folder = tmp_path_factory.mktemp(request.param)
    base = tiny_checkpoint(folder / "base")
    inputs: dict[str, Any] = {"prepared": folder / "prepared"}
    if METHODS[request.param].reads == "windows":
        windows_folder(inputs["prepared"])
    else:
        prepared_sample(inputs["prepared"], base)
        inputs |= {"pairs": pairs_folder(folder / "pairs"), "parent": parent_of(folder / "parent", base)}
    made = Trainee(name=request.param, base=base, inputs=inputs, folder=folder / "trained")
    made.run(made.folder)
    return made


def test_it_learns_and_leaves_two_adapter_files_and_a_summary(trainee: Trainee) -> None:
    files = sorted(str(file.relative_to(trainee.folder)) for file in trainee.folder.rglob("*") if file.is_file())
    assert files == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "training.json"]
    record = trainee.record()
    assert record["validation_loss"] < record["validation_loss_before"] - 0.01
    assert record["n_loss_tokens"] < record["n_tokens"]


def test_the_same_recipe_gives_the_same_adapter_and_a_seed_another(trainee: Trainee, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what ran before does not matter
    for name, seed in (("again", 0), ("other", 1)):
        trainee.run(tmp_path / name, seed=seed)
    first = digest_folder(trainee.folder / "adapter")
    assert digest_folder(tmp_path / "again" / "adapter") == first
    assert digest_folder(tmp_path / "other" / "adapter") != first


def test_it_reports_and_prints_nothing(trainee: Trainee, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    progress: list[Progress] = []
    metrics: list[tuple[Any, ...]] = []
    on = {"on_progress": progress.append, "on_metric": lambda *metric: metrics.append(metric)}
    trainee.run(tmp_path, on=on)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    done = [p.done for p in progress]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, progress[-1].total)
    curves = trainee.record()["curves"]
    assert metrics == [(point["name"], point["value"], point["step"]) for point in curves]
    own = {"sft": {"validation/bits_per_byte"}, "dpo": {"train/reward_margin", "validation/kl", "validation/cut_off"}}
    shared = {"train/loss", "train/learning_rate", "train/grad_norm", "validation/loss"}
    assert {name for name, _, _ in metrics} >= shared | own[trainee.name]


def test_a_loss_that_is_no_number_ends_it(trainee: Trainee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.preference_trainer import PreferenceTrainer
    from pipelines.training.sft_trainer import PackedSFTTrainer

    for kind in (PreferenceTrainer, PackedSFTTrainer):

        def broken(self: Any, *a: Any, real: Any = kind.compute_loss, **k: Any) -> Any:
            return real(self, *a, **k) * (math.nan if self.model.training and self.state.global_step else 1.0)

        monkeypatch.setattr(kind, "compute_loss", broken)
    with pytest.raises(StageError, match="`train/loss` must stay a number, got nan at step 2"):
        trainee.run(tmp_path)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from harness.store.artifacts import from_json
from harness.types import Adapter
from pipelines.training.methods import METHODS

def kill(name, value, step):
    if name == "train/loss" and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

method, recipe, folders, start = json.loads(sys.argv[1])
runner = METHODS[method].runner
inputs = {name: Path(folder) for name, folder in folders.items()}
inputs |= {name: from_json(Adapter, adapter) for name, adapter in start.items()}
runner.run(runner.RECIPE.model_validate(recipe), **inputs, on_metric=kill)
"""


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_adapter(trainee: Trainee, tmp_path: Path) -> None:
    """SFT has dropout and NEFTune on, so that the random state must come back too."""
    inputs = {"folder": tmp_path, **trainee.inputs}
    start = {name: to_json(value) for name, value in inputs.items() if isinstance(value, Adapter)}
    told = [
        trainee.name,
        SETTINGS[trainee.name](trainee.base),
        {n: str(v) for n, v in inputs.items() if n not in start},
    ]
    killed = subprocess.run([sys.executable, "-c", KILLED, json.dumps([*told, start])], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoints" / "checkpoint-4" / MARK).exists()
    assert (tmp_path / "checkpoints" / "reference.safetensors").exists() == (trainee.name == "dpo")
    assert not any(file.suffix == ".bin" for file in tmp_path.rglob("*"))  # no pickled arguments
    summary, undisturbed = to_json(trainee.run(tmp_path)), trainee.record()
    assert summary["resumed_from"] == 4
    assert digest_folder(tmp_path / "adapter") == digest_folder(trainee.folder / "adapter")
    assert [summary[key] for key in ("n_tokens", "n_loss_tokens", "curves")] == [
        undisturbed[key] for key in ("n_tokens", "n_loss_tokens", "curves")
    ]


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def leaves(kind: type[BaseModel]) -> set[tuple[str, str]]:
    found = set()
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= leaves(field.annotation)
        else:
            found.add((kind.__name__, key))
    return found


def test_every_key_is_read_by_a_training(trainee: Trainee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = set()

    def record(self: BaseModel, name: str) -> Any:
        read.add((type(self).__name__, name))
        return object.__getattribute__(self, name)

    monkeypatch.setattr(StrictConfig, "__getattribute__", record, raising=False)
    chosen = trainee.recipe()
    read.clear()
    trainee.runner.run(chosen, folder=tmp_path, **trainee.inputs)
    # The command looks the parent up by name and gives the adapter.
    assert leaves(trainee.runner.RECIPE) - read == ({("DpoRecipe", "parent")} if trainee.name == "dpo" else set())


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("sft", {"neftune": 5}, "`neftune` is not a key of SftRecipe"),
        ("sft", {"data__epochs": 2}, "exactly one of `train_tokens` and `epochs` must be set"),
        ("sft", {"lora__rank": 0}, "`lora.rank`"),
        ("sft", {"quantization": "int8"}, "`quantization`"),
        ("sft", {"name": "No Spaces"}, "`name`"),
        ("dpo", {"lora": {}}, "`lora` is not a key of DpoRecipe"),
        ("dpo", {"loss__beta": 0.0}, "`loss.beta`"),
        ("dpo", {"loss__type": "ipo", "loss__label_smoothing": 0.1}, "`label_smoothing` must be 0 with `type: ipo`"),
        ("dpo", {"loss__type": "sft", "loss__ld_alpha": 0.5}, "`ld_alpha` must be null with `type: sft`"),
        ("dpo", {"validation__keep": "first"}, "`validation.keep`"),
    ],
    ids=str,
)
def test_a_recipe_that_breaks_a_rule_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(SETTINGS[name](Path("base"), **changes), METHODS[name].runner.RECIPE, where="test")


def test_a_step_that_does_not_divide_among_the_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match="must divide among 2 processes, got 3"):
        Processes(n=2).divide(3)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recipe_that_ships_is_whole_short_and_runs_as_it_says(path: Path) -> None:
    loaded, lines, kind = recipe_of(path), path.read_text().splitlines(), path.parent.name
    assert len(lines) <= 70
    assert lines[0].startswith("# ")
    command = f"screentest {kind} {path.relative_to(REPOSITORY).as_posix()}"
    if path.stem == "pretrained-quick":  # its base is trained by the ablation
        command = "screentest ablate experiments/ablations/scale.yaml --profile quick"
    assert lines[1] == f"# Run: {command}"
    assert loaded.base.revision is None or len(loaded.base.revision) == 40  # a commit, not a branch
    if kind == "dpo":
        sft = recipe_of(path.parents[1] / "sft" / path.name)
        assert (loaded.base, loaded.quantization) == (sft.base, sft.quantization)
        assert loaded.parent == f"{sft.name}@candidate"


def test_the_recipes_that_ship_are_these_and_qwens_differ_by_their_size_alone() -> None:
    for kind, more in (("sft", ABLATED), ("dpo", set())):
        stems = {path.stem for path in RECIPES if path.parent.name == kind}
        assert stems == {"embedded", "qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b"} | more
        sizes = [recipe_of(p).model_dump() for p in RECIPES if p.parent.name == kind and p.stem.startswith("qwen")]
        for other in sizes[1:]:
            assert {key for key in other if other[key] != sizes[0][key]} <= {"name", "base", "parent"}
