from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_checkpoint, tiny_model
from pydantic import BaseModel

from harness.config import load_yaml, parse
from harness.errors import ConfigError, IntegrityError, SplitError, StageError
from harness.store.artifacts import digest_folder, write_parquet
from harness.types import Example
from pipelines import sft
from pipelines.corpus.windows import examples_file, read_examples
from pipelines.packing import flatten
from pipelines.training import recipe as recipe_module
from pipelines.training.checkpoints import MARK, open_checkpoints
from pipelines.training.neftune import noise_bound
from pipelines.training.recipe import SftRecipe

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = sorted((REPOSITORY / "experiments" / "recipes" / "sft").glob("*.yaml"))


def settings(base: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for a tiny model as plain data; `changes` name leaves as `section__key`."""
    data: dict[str, Any] = {
        "name": "tiny-sft",
        "base": {"source": str(base), "revision": None},
        "quantization": "none",
        "precision": "auto",
        "attention": "auto",
        "lora": {"rank": 4, "scale": 8, "dropout": 0.1, "targets": "all-linear", "dora": False},
        "data": {"train_tokens": 1500, "epochs": None, "pack_tokens": 128},
        "optimizer": {
            "name": "adamw",
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "warmup_steps": 2,
            "packs_per_step": 2,
            "weight_decay": 0.01,
            "max_grad_norm": 1.0,
        },
        "neftune_alpha": 5.0,
        "gradient_checkpointing": False,
        "validation": {"every_steps": 2, "max_tokens": 400, "patience": None},
        "checkpoint_steps": 2,
        "log_steps": 1,
        "seed": 0,
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            data[section] = {**data[section], key: value}
        else:
            data[section] = value
    return data


def recipe(base: Path, **changes: Any) -> SftRecipe:
    return parse(settings(base, **changes), SftRecipe, where="test")


def counting(row: int, *, split: str, length: int | None = None) -> Example:
    """Tokens that count upwards: something that a tiny model can learn."""
    length = length or 12 + (row * 7) % 40
    ids = tuple(10 + (row * 13 + i) % 200 for i in range(length))
    n_prompt = 3 + row % 5
    return Example(
        prompt_id=f"{split}-{row}",
        cluster=f"m{row % 5}",
        split=split,  # type: ignore[arg-type]
        input_ids=ids,
        n_prompt_tokens=n_prompt,
        n_completion_bytes=length - n_prompt - 1,
    )


def prepare(folder: Path, train: list[Example], validation: list[Example]) -> Path:
    for split, examples in (("train", train), ("validation", validation)):
        path = examples_file(folder, split)  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, examples, Example)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepare(
        tmp_path_factory.mktemp("prepared"),
        [counting(row, split="train") for row in range(40)],
        [counting(row, split="validation") for row in range(100, 110)],
    )


@pytest.fixture(scope="module")
def trained(base, prepared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    sft.run(recipe(base), prepared=prepared, folder=folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def largest_difference(left: Path, right: Path) -> float:
    one, two = weights(left), weights(right)
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


# ── what a training leaves ───────────────────────────────────────────────────────────────────────────────────────────


def test_it_learns_and_leaves_two_adapter_files_and_a_summary(trained, base):
    record = json.loads((trained / "training.json").read_text())
    assert sorted(file.name for file in trained.iterdir()) == ["adapter", "training.json"]
    assert sorted(file.name for file in (trained / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert record["validation_loss"] < record["validation_loss_before"] - 0.02
    assert record["padding_share"] == 0
    assert 1450 < record["n_tokens"] <= 1500
    assert record["n_loss_tokens"] < record["n_tokens"]
    assert record["n_trainable"] == sum(tensor.numel() for tensor in weights(trained).values())
    ratio = record["validation_loss"] / record["validation_bits_per_byte"]
    assert ratio == pytest.approx(math.log(2) * 0.98, rel=0.1)  # a token a byte here, and an end token a reply


def test_no_file_names_a_machine(trained, base):
    config = json.loads((trained / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.name
    assert str(base.parent) not in (trained / "adapter" / "adapter_config.json").read_text()
    assert config["target_modules"] == sorted(config["target_modules"])
    assert not any("lm_head" in name for name in config["target_modules"])


def test_curves_begin_before_training_and_end_with_it(trained):
    record = json.loads((trained / "training.json").read_text())
    steps = {
        name: [point["step"] for point in record["curves"] if point["name"] == name]
        for name in ("train/loss", "validation/loss")
    }
    last = record["n_steps"]
    assert steps["train/loss"] == list(range(1, last + 1))
    assert steps["validation/loss"] == sorted({0, last, *range(2, last + 1, 2)})
    best = min(point["value"] for point in record["curves"] if point["name"] == "validation/loss")
    assert record["validation_loss"] == best


def test_the_validation_loss_is_that_of_the_saved_adapter(trained, base, prepared):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), trained / "adapter").eval()
    nats, n_tokens = 0.0, 0
    for example in read_examples(prepared, "validation"):
        ids = torch.tensor([example.input_ids])
        with torch.no_grad():
            logp = torch.log_softmax(model(ids).logits[0, :-1], dim=-1)
        token_logp = logp.gather(1, ids[0, 1:, None])[:, 0]
        nats -= float(token_logp[example.n_prompt_tokens - 1 :].sum())
        n_tokens += len(example.input_ids) - example.n_prompt_tokens
    record = json.loads((trained / "training.json").read_text())
    assert record["validation_loss"] == pytest.approx(nats / n_tokens, abs=1e-5)


def test_the_same_recipe_gives_the_same_adapter_and_a_seed_another(base, prepared, trained, tmp_path):
    torch.manual_seed(99)  # what ran before does not matter
    sft.run(recipe(base), prepared=prepared, folder=tmp_path / "again")
    sft.run(recipe(base, seed=1), prepared=prepared, folder=tmp_path / "other")
    assert digest_folder(tmp_path / "again" / "adapter") == digest_folder(trained / "adapter")
    assert largest_difference(tmp_path / "other", trained) > 1e-3


def test_it_reports_progress_and_metrics_and_prints_nothing(base, prepared, tmp_path, capfd):
    progress, metrics = [], []
    sft.run(
        recipe(base, data__train_tokens=400),
        prepared=prepared,
        folder=tmp_path,
        on_progress=progress.append,
        on_metric=lambda *metric: metrics.append(metric),
    )
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert [p.done for p in progress] == sorted(p.done for p in progress)
    assert progress[0].done == 0
    assert progress[-1].done == progress[-1].total
    assert {name for name, _, _ in metrics} == {
        "train/loss",
        "train/learning_rate",
        "train/grad_norm",
        "validation/loss",
        "validation/bits_per_byte",
    }


# ── method ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_accumulated_packs_count_by_their_trained_tokens(base, tmp_path):
    """Two packs of one example each, in one step, move the weights as one pack of both does."""
    short, long = counting(0, split="train", length=20), counting(1, split="train", length=100)
    data = prepare(tmp_path / "data", [short, long], [counting(9, split="validation")])
    shared = {"neftune_alpha": None, "lora__dropout": 0.0, "data__train_tokens": None, "data__epochs": 1}
    for name, pack_tokens, packs in (("apart", 100, 2), ("together", 128, 1)):
        chosen = recipe(base, **shared, data__pack_tokens=pack_tokens, optimizer__packs_per_step=packs)
        assert sft.run(chosen, prepared=data, folder=tmp_path / name).n_steps == 1
    assert largest_difference(tmp_path / "apart", tmp_path / "together") < 1e-6


def test_neftune_draws_uniform_noise_bounded_by_the_length_of_the_pack():
    from transformers.integrations.neftune import activate_neftune

    model = tiny_model().train()
    flat = flatten([counting(row, split="train") for row in range(4)])
    ids = flat.input_ids
    clean = model.get_input_embeddings()(ids)
    activate_neftune(model, 5.0)
    noise = (model.get_input_embeddings()(ids) - clean).detach()
    bound = noise_bound(5.0, n_tokens=ids.numel(), width=clean.shape[-1])
    assert bound == 5.0 / math.sqrt(ids.numel() * 32)
    assert 0.99 * bound < float(noise.abs().max()) <= bound * (1 + 1e-5)
    assert float(noise.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)  # uniform, not Gaussian


def test_the_summary_tells_the_noise_that_was_applied(trained):
    record = json.loads((trained / "training.json").read_text())["neftune"]
    assert record["alpha"] == 5.0
    assert noise_bound(5.0, n_tokens=128, width=32) <= record["applied"] < record["unpacked"]


@pytest.mark.parametrize(
    "changes",
    [{"gradient_checkpointing": True}, {"attention": "eager"}],
    ids=["checkpointing", "eager"],
)
def test_what_only_changes_memory_or_kernels_gives_the_same_adapter(changes, base, prepared, trained, tmp_path):
    sft.run(recipe(base, **changes), prepared=prepared, folder=tmp_path)
    assert largest_difference(tmp_path, trained) < 1e-3


@pytest.mark.parametrize(
    "changes", [{"lora__dora": True}, {"lora__targets": ["q_proj", "v_proj"]}, {"quantization": "nf4"}], ids=str
)
def test_variants_of_the_adapter_train(changes, base, prepared, tmp_path):
    summary = sft.run(recipe(base, **changes), prepared=prepared, folder=tmp_path)
    assert summary.validation_loss < summary.validation_loss_before
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path).values())


def test_it_stops_when_patience_ends_and_keeps_the_best(base, prepared, tmp_path):
    chosen = recipe(base, optimizer__learning_rate=1e-30, validation__patience=1, validation__every_steps=1)
    summary = sft.run(chosen, prepared=prepared, folder=tmp_path)
    assert (summary.n_steps, summary.best_step) == (1, 0)
    assert summary.n_planned_steps > 1


def test_the_best_weights_are_kept_when_later_ones_are_worse(base, prepared, tmp_path, monkeypatch):
    from pipelines.training.trainer import HeldoutLoss, PackedSFTTrainer

    def scripted(self: Any) -> HeldoutLoss:  # best at step 2
        return HeldoutLoss(nats=3.0 + abs(self.state.global_step - 2), n_tokens=1, n_bytes=1)

    monkeypatch.setattr(PackedSFTTrainer, "heldout_loss", scripted)
    every = {"validation__every_steps": 1, "checkpoint_steps": 1}
    full = sft.run(recipe(base, **every), prepared=prepared, folder=tmp_path / "full")
    stopped = sft.run(recipe(base, **every, validation__patience=2), prepared=prepared, folder=tmp_path / "stopped")
    assert (full.best_step, full.n_steps) == (2, full.n_planned_steps)
    assert (stopped.best_step, stopped.n_steps) == (2, 4)
    assert digest_folder(tmp_path / "full" / "adapter") == digest_folder(tmp_path / "stopped" / "adapter")
    monkeypatch.undo()
    last = sft.run(recipe(base), prepared=prepared, folder=tmp_path / "last")
    assert last.best_step == last.n_steps
    assert largest_difference(tmp_path / "full", tmp_path / "last") > 1e-3  # not simply the last weights


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_examples_of_another_split_never_train(base, prepared, tmp_path, monkeypatch):
    real = read_examples
    monkeypatch.setattr(sft, "read_examples", lambda folder, split: real(folder, "validation"))
    with pytest.raises(SplitError, match="must be of the train split here, got validation"):
        sft.run(recipe(base), prepared=prepared, folder=tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(base, prepared, tmp_path, monkeypatch):
    from pipelines.training.trainer import PackedSFTTrainer

    real = PackedSFTTrainer.compute_loss
    calls = itertools.count()
    monkeypatch.setattr(
        PackedSFTTrainer,
        "compute_loss",
        lambda self, *a, **k: real(self, *a, **k) * (math.nan if self.model.training and next(calls) > 2 else 1.0),
    )
    with pytest.raises(StageError, match="`train/loss` must stay a number, got nan at step 2"):
        sft.run(recipe(base), prepared=prepared, folder=tmp_path)


def test_targets_that_the_base_lacks_are_refused(base, prepared, tmp_path):
    with pytest.raises(ConfigError, match=r"`lora\.targets` must name linear layers of the base"):
        sft.run(recipe(base, lora__targets=["no_such_layer"]), prepared=prepared, folder=tmp_path)


# ── resuming ─────────────────────────────────────────────────────────────────────────────────────────────────────────

KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines import sft
from harness.config import parse
from pipelines.training.recipe import SftRecipe
import json

def kill(name, value, step):
    if name == "train/loss" and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

data, prepared, folder = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
sft.run(parse(data, SftRecipe, where="test"), prepared=prepared, folder=folder, on_metric=kill)
"""


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_adapter(base, prepared, trained, tmp_path):
    """Dropout and NEFTune noise are on, so that the random state must come back too."""
    arguments = [json.dumps(settings(base)), str(prepared), str(tmp_path)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoints" / "checkpoint-4" / MARK).exists()
    assert not any(file.suffix == ".bin" for file in tmp_path.rglob("*"))  # no pickled arguments
    summary = sft.run(recipe(base), prepared=prepared, folder=tmp_path)
    undisturbed = json.loads((trained / "training.json").read_text())
    assert summary.resumed_from == 4
    assert digest_folder(tmp_path / "adapter") == digest_folder(trained / "adapter")
    assert (summary.n_tokens, summary.n_loss_tokens) == (undisturbed["n_tokens"], undisturbed["n_loss_tokens"])
    assert [(p.name, p.step, p.value) for p in summary.curves] == [
        (p["name"], p["step"], p["value"]) for p in undisturbed["curves"]
    ]


def test_a_training_killed_after_its_last_step_only_writes_what_is_missing(base, prepared, trained, tmp_path):
    class Killed(BaseException):
        pass

    def kill(name: str, value: float, step: int) -> None:
        if step == last and name == "validation/bits_per_byte":
            raise Killed

    last = json.loads((trained / "training.json").read_text())["n_steps"]
    with pytest.raises(Killed):
        sft.run(recipe(base), prepared=prepared, folder=tmp_path, on_metric=kill)
    summary = sft.run(recipe(base), prepared=prepared, folder=tmp_path)
    assert summary.resumed_from == last - 1 - (last - 1) % 2
    assert digest_folder(tmp_path / "adapter") == digest_folder(trained / "adapter")


def test_checkpoints_of_another_run_are_refused_and_torn_ones_removed(tmp_path):
    assert open_checkpoints(tmp_path, identity="one") is None
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-2" / MARK).write_text(json.dumps({"seconds": 3.0, "n_tokens": 7}))
    found = open_checkpoints(tmp_path, identity="one")
    assert found is not None
    assert (found.step, found.progress["n_tokens"]) == (2, 7)
    assert not (tmp_path / "checkpoint-4").exists()
    with pytest.raises(IntegrityError, match="holds checkpoints of another recipe or other data"):
        open_checkpoints(tmp_path, identity="two")


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


ABLATED = ("embedded-quick", "pretrained-quick")  # short enough to repeat over arms and seeds


def test_recipes_are_these():
    named = sorted(["embedded", "qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b", *ABLATED])
    assert sorted(path.stem for path in RECIPES) == named


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_whole_short_and_begins_with_its_question_and_command(path):
    loaded = load_yaml(path, SftRecipe)
    lines = path.read_text().splitlines()
    assert len(lines) <= 70
    assert lines[0].startswith("# ")
    assert lines[0].endswith("?")
    command = f"screentest sft {path.relative_to(REPOSITORY).as_posix()}"
    if path.stem == "pretrained-quick":  # its base is trained by the ablation
        command = "screentest ablate experiments/ablations/scale.yaml --profile quick"
    assert lines[1] == f"# Run: {command}"
    assert (loaded.base.revision is None) == (loaded.base.source in ("embedded", "pretrained"))
    assert loaded.base.revision is None or len(loaded.base.revision) == 40  # a commit, not a branch


def test_the_sizes_of_qwen_differ_in_what_their_size_asks_for_alone():
    recipes = [load_yaml(path, SftRecipe).model_dump() for path in RECIPES if path.stem.startswith("qwen")]
    for other in recipes[1:]:
        differing = {key for key in other if other[key] != recipes[0][key]}
        assert differing <= {"name", "base"}


def leaves(kind: type[BaseModel]) -> set[tuple[str, str]]:
    found = set()
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= leaves(field.annotation)
        else:
            found.add((kind.__name__, key))
    return found


def test_every_key_is_read_by_a_training(base, prepared, tmp_path, monkeypatch):
    read = set()

    def record(self: BaseModel, name: str) -> Any:
        read.add((type(self).__name__, name))
        return object.__getattribute__(self, name)

    monkeypatch.setattr(recipe_module.StrictConfig, "__getattribute__", record, raising=False)
    chosen = recipe(base, data__train_tokens=300)
    read.clear()
    sft.run(chosen, prepared=prepared, folder=tmp_path)
    assert leaves(SftRecipe) - read == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"neftune": 5}, "`neftune` is not a key of SftRecipe"),
        ({"data__epochs": 2}, "exactly one of `train_tokens` and `epochs` must be set"),
        ({"lora__rank": 0}, "`lora.rank`"),
        ({"quantization": "int8"}, "`quantization`"),
        ({"name": "No Spaces"}, "`name`"),
    ],
    ids=str,
)
def test_a_recipe_that_breaks_a_rule_is_refused(base, changes, words):
    with pytest.raises(ConfigError, match=words):
        recipe(base, **changes)


def test_gradients_pass_a_4_bit_base_after_a_validation(base):
    """bitsandbytes repacks 4-bit layers on some CPUs in evaluation mode; no gradient passes them after that."""
    from harness.models.bases import resolve_base
    from pipelines.modeling import attach_lora, load_base, resolve_runtime

    chosen = recipe(base, quantization="nf4")
    named = resolve_base(str(base))
    model = load_base(named, runtime=resolve_runtime(precision="fp32", attention="sdpa"), quantization="nf4")
    model = attach_lora(model, chosen.lora, base=named, seed=0).eval()
    ids = torch.tensor([[11, 12, 13, 14, 15]])

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return model(ids).logits

    before = logits()
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    model(inputs_embeds=embedded).logits.logsumexp(-1).sum().backward()
    first = embedded.grad.clone()
    assert float(first.abs().max()) > 0
    with torch.no_grad():
        model(ids)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    embedded.grad = None
    model(inputs_embeds=embedded).logits.logsumexp(-1).sum().backward()
    assert torch.allclose(embedded.grad, first, atol=1e-5)
    assert torch.equal(logits(), before)
