from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from certain import sure
from fakes import tiny_checkpoint, tiny_model
from training_data import counting, largest_difference, sft_settings, weights, windows_folder
from transformers import AutoConfig

from harness.config import parse
from harness.errors import ConfigError, IntegrityError, SplitError
from harness.models import decoder
from harness.store.artifacts import digest_folder
from pipelines import sft
from pipelines.corpus.windows import read_examples
from pipelines.training import passes
from pipelines.training.checkpoints import MARK, open_checkpoints
from pipelines.training.modeling import Runtime
from pipelines.training.neftune import noise_bound, noise_bounds, noisy
from pipelines.training.passes import packs_per_pass
from pipelines.training.processes import Processes
from pipelines.training.recipe import SftRecipe
from pipelines.training.summary import SftSummary


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A tiny base and windows to train it on."""

    base: Path
    prepared: Path

    def recipe(self, **changes: Any) -> SftRecipe:
        return parse(sft_settings(self.base, **changes), SftRecipe, where="test")

    def train(self, folder: Path, *, on_metric: Any = None, **changes: Any) -> SftSummary:
        return sft.run(self.recipe(**changes), prepared=self.prepared, folder=folder, on_metric=on_metric)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    made = tmp_path_factory.mktemp("lesson")
    return Lesson(base=tiny_checkpoint(made / "base"), prepared=windows_folder(made / "prepared"))


@pytest.fixture(scope="module")
def trained(lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    lesson.train(folder)
    return folder


# ── what a training leaves ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_summary_counts_what_was_trained(trained: Path) -> None:
    record = json.loads((trained / "training.json").read_text())
    assert record["padding_share"] == 0
    assert 1450 < record["n_tokens"] <= 1500
    assert record["n_trainable"] == sum(tensor.numel() for tensor in weights(trained).values())
    ratio = record["validation_loss"] / record["validation_bits_per_byte"]
    assert ratio == pytest.approx(math.log(2) * 0.98, rel=0.1)  # a token a byte here, and an end token a reply


def test_curves_begin_before_training_and_end_with_it(trained: Path) -> None:
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


def test_the_validation_loss_is_that_of_the_saved_adapter(trained: Path, lesson: Lesson) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lesson.base), trained / "adapter").eval()
    nats, n_tokens = 0.0, 0
    for example in read_examples(lesson.prepared, "validation"):
        ids = torch.tensor([example.input_ids])
        with torch.no_grad():
            logp = torch.log_softmax(model(ids).logits[0, :-1], dim=-1)
        token_logp = logp.gather(1, ids[0, 1:, None])[:, 0]
        nats -= float(token_logp[example.n_prompt_tokens - 1 :].sum())
        n_tokens += len(example.input_ids) - example.n_prompt_tokens
    record = json.loads((trained / "training.json").read_text())
    assert record["validation_loss"] == pytest.approx(nats / n_tokens, abs=1e-5)


# ── method ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_accumulated_packs_count_by_their_trained_tokens(lesson: Lesson, tmp_path: Path) -> None:
    """Two packs of one example each, in one step, move the weights as one pack of both does."""
    short, long = counting(0, split="train", length=20), counting(1, split="train", length=100)
    data = windows_folder(tmp_path / "data", [short, long], [counting(9, split="validation")])
    shared = {"neftune_alpha": None, "lora__dropout": 0.0, "data__train_tokens": None, "data__epochs": 1}
    for name, pack_tokens, packs in (("apart", 100, 2), ("together", 128, 1)):
        chosen = lesson.recipe(**shared, data__pack_tokens=pack_tokens, optimizer__packs_per_step=packs)
        assert sft.run(chosen, prepared=data, folder=tmp_path / name).n_steps == 1
    assert largest_difference(tmp_path / "apart", tmp_path / "together") < 1e-6


def test_packs_that_share_a_pass_train_as_packs_by_themselves(lesson: Lesson, tmp_path: Path) -> None:
    """Four packs a step in four passes, two or one: one gradient, and the same tallies; the last step has too few."""
    data = windows_folder(
        tmp_path / "data", [counting(i, split="train", length=20 + 7 * i) for i in range(6)],
        [counting(9 + i, split="validation", length=30) for i in range(3)],
    )  # fmt: skip
    shared = {"neftune_alpha": None, "lora__dropout": 0.0, "data__train_tokens": None, "data__epochs": 1}
    found = {}
    for at_once in (1, 2, 4):
        passes = {"optimizer__packs_per_step": 4, "optimizer__packs_per_pass": at_once, "data__pack_tokens": 60}
        found[at_once] = sft.run(lesson.recipe(**shared, **passes), prepared=data, folder=tmp_path / str(at_once))
        assert found[at_once].packs_per_pass == at_once
        assert largest_difference(tmp_path / "1", tmp_path / str(at_once)) < 1e-6
    told = [(s.n_steps, s.n_tokens, s.n_loss_tokens, s.n_examples, round(s.validation_loss, 4)) for s in found.values()]
    assert told[0] == told[1] == told[2]


def test_noise_of_packs_that_share_a_pass_is_that_of_each_pack(lesson: Lesson, tmp_path: Path) -> None:
    changes = {"neftune_by": "pack", "optimizer__packs_per_step": 2}
    alone, shared = (
        sure(lesson.train(tmp_path / str(n), **changes, optimizer__packs_per_pass=n).neftune).applied for n in (1, 2)
    )
    assert alone == pytest.approx(shared)


def test_passes_that_do_not_divide_a_step_are_refused(lesson: Lesson, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`optimizer.packs_per_pass` must divide the 4 packs .* got 3"):
        lesson.train(tmp_path, optimizer__packs_per_step=4, optimizer__packs_per_pass=3)


@pytest.mark.parametrize(("gib", "attention", "expected"), [(6, "sdpa", 4), (80, "sdpa", 8), (80, "eager", 1)])
def test_a_card_takes_as_many_packs_at_once_as_it_holds(
    gib: int, attention: Any, expected: int, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 3B in 4 bits with packs of 512 tokens, 16 a step."""
    shape = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "vocab_size": 151_936}
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**shape))
    weights = [torch.empty(int(2.1e9), dtype=torch.uint8, device="meta")]
    model = SimpleNamespace(config=config, parameters=lambda: weights)
    monkeypatch.setattr(passes, "card_bytes", lambda: gib * 2**30)
    recipe = lesson.recipe(optimizer__packs_per_step=16, gradient_checkpointing=True)
    runtime = Runtime(device="cuda", precision="bf16", attention=attention)
    asked = packs_per_pass(recipe, model=model, runtime=runtime, processes=Processes(), longest=512)
    assert asked == expected


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3", "gpt_neox", "mamba", "falcon", "gemma2"])
def test_a_card_is_asked_for_room_whatever_the_architecture_calls_its_sizes(
    kind: str, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoConfig.for_model(kind)
    model = SimpleNamespace(config=config, parameters=list)
    for module in (passes, decoder):
        monkeypatch.setattr(module, "card_bytes", lambda: 80 * 2**30)
    runtime = Runtime(device="cuda", precision="bf16", attention="sdpa")
    recipe = lesson.recipe(optimizer__packs_per_step=16)
    assert packs_per_pass(recipe, model=model, runtime=runtime, processes=Processes(), longest=512) > 1
    limits = decoder.limits_on("cuda", config)
    assert limits.n_rows == 256
    assert limits.n_tokens > 1000


def test_packed_examples_see_not_each_other(lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.packing import FlatPack

    inputs = FlatPack.model_inputs
    ones = lambda flat, **how: inputs(flat, **how) | {"attention_mask": torch.ones_like(flat.input_ids)}  # noqa: E731
    monkeypatch.setattr(FlatPack, "model_inputs", ones)  # a mask of ones switches the isolation off
    with pytest.raises(ConfigError, match="must give packed examples what it gives each alone"):
        lesson.train(tmp_path)


@pytest.mark.parametrize(("lengths", "by"), [((40,), "example"), ((12, 40, 7), "pack")])
def test_neftune_is_that_of_transformers_where_both_take_the_same_length(lengths: tuple[int, ...], by: Any) -> None:
    from transformers.integrations.neftune import activate_neftune

    model, ids = tiny_model().train(), torch.arange(10, 10 + sum(lengths))[None]
    torch.manual_seed(3)
    with noisy(model.get_input_embeddings(), noise_bounds(5.0, lengths, width=32, by=by)):
        ours = model.get_input_embeddings()(ids)
    activate_neftune(model, 5.0)
    torch.manual_seed(3)
    assert torch.allclose(ours, model.get_input_embeddings()(ids), atol=1e-6, rtol=0)


def test_examples_that_share_a_row_have_each_the_noise_of_its_own_length() -> None:
    model, lengths = tiny_model().train(), (12, 40, 160)
    ids = torch.arange(10, 10 + sum(lengths))[None]
    clean = model.get_input_embeddings()(ids)
    with noisy(model.get_input_embeddings(), noise_bounds(5.0, lengths, width=32, by="example")):
        noise = (model.get_input_embeddings()(ids) - clean).detach()[0].split(lengths)
    for length, own in zip(lengths, noise, strict=True):
        bound = 5.0 / math.sqrt(length * 32)
        assert 0.97 * bound < float(own.abs().max()) <= bound * (1 + 1e-5)
        assert float(own.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)  # uniform, not Gaussian
    assert torch.equal(model.get_input_embeddings()(ids), clean)  # nothing is left behind


def test_the_summary_tells_the_noise_that_was_applied(trained: Path, lesson: Lesson, tmp_path: Path) -> None:
    record = json.loads((trained / "training.json").read_text())["neftune"]
    assert (record["alpha"], record["applied"]) == (5.0, pytest.approx(record["unpacked"], rel=1e-5))
    noise = sure(lesson.train(tmp_path, neftune_by="pack", data__train_tokens=300).neftune)
    assert noise_bound(5.0, n_tokens=128, width=32) <= noise.applied < noise.unpacked


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"attention": "eager"}], ids=str)
def test_memory_and_kernels_leave_the_adapter_the_same(
    changes: Any, lesson: Lesson, trained: Path, tmp_path: Path
) -> None:
    lesson.train(tmp_path, **changes)
    assert largest_difference(tmp_path, trained) < 1e-3


@pytest.mark.parametrize(
    "changes", [{"lora__dora": True}, {"lora__targets": ["q_proj", "v_proj"]}, {"quantization": "nf4"}], ids=str
)
def test_variants_of_the_adapter_train(changes: dict[str, Any], lesson: Lesson, tmp_path: Path) -> None:
    summary = lesson.train(tmp_path, **changes)
    assert summary.validation_loss < summary.validation_loss_before
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path).values())


def test_it_stops_when_patience_ends_and_keeps_the_best(lesson: Lesson, tmp_path: Path) -> None:
    changes = {"optimizer__learning_rate": 1e-30, "validation__patience": 1, "validation__every_steps": 1}
    summary = lesson.train(tmp_path, **changes)
    assert (summary.n_steps, summary.best_step) == (1, 0)
    assert summary.n_planned_steps > 1


def test_the_best_weights_are_kept_in_the_end(lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.sft_trainer import PackedSFTTrainer

    def scripted(self: Any) -> dict[str, float]:  # best at step 2
        return {"eval_loss": 3.0 + abs(self.state.global_step - 2), "eval_bits_per_byte": 1.0}

    monkeypatch.setattr(PackedSFTTrainer, "heldout_loss", scripted)
    every = {"validation__every_steps": 1, "checkpoint_steps": 1}
    full = lesson.train(tmp_path / "full", **every)
    stopped = lesson.train(tmp_path / "stopped", **every, validation__patience=2)
    assert (full.best_step, full.n_steps) == (2, full.n_planned_steps)
    assert (stopped.best_step, stopped.n_steps) == (2, 4)
    assert digest_folder(tmp_path / "full" / "adapter") == digest_folder(tmp_path / "stopped" / "adapter")
    monkeypatch.undo()
    last = lesson.train(tmp_path / "last")
    assert last.best_step == last.n_steps
    assert largest_difference(tmp_path / "full", tmp_path / "last") > 1e-3  # not simply the last weights


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_examples_of_another_split_never_train(lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = read_examples
    monkeypatch.setattr(sft, "read_examples", lambda folder, split: real(folder, "validation"))
    with pytest.raises(SplitError, match="must be of the train split here, got validation"):
        lesson.train(tmp_path)


def test_targets_that_the_base_lacks_are_refused(lesson: Lesson, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`lora\.targets` must name linear layers of the base"):
        lesson.train(tmp_path, lora__targets=["no_such_layer"])


# ── resuming ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_killed_after_its_last_step_it_writes_what_is_missing(lesson: Lesson, trained: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(name: str, value: float, step: int) -> None:
        if step == last and name == "validation/bits_per_byte":
            raise Killed

    last = json.loads((trained / "training.json").read_text())["n_steps"]
    with pytest.raises(Killed):
        lesson.train(tmp_path, on_metric=kill)
    summary = lesson.train(tmp_path)
    assert summary.resumed_from == last - 1 - (last - 1) % 2
    assert digest_folder(tmp_path / "adapter") == digest_folder(trained / "adapter")


def test_checkpoints_of_another_run_are_refused_and_torn_ones_removed(tmp_path: Path) -> None:
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


def test_gradients_pass_a_4_bit_base_after_a_validation(lesson: Lesson) -> None:
    """bitsandbytes repacks 4-bit layers on some CPUs in evaluation mode; no gradient passes them after that."""
    from harness.models.bases import resolve_base
    from pipelines.training.modeling import attach_lora, load_base, resolve_runtime

    chosen = lesson.recipe(quantization="nf4", lora__dropout=0.0)
    named = resolve_base(str(lesson.base))
    model = load_base(named, runtime=resolve_runtime(precision="fp32", attention="sdpa"), quantization="nf4")
    model = attach_lora(model, chosen.lora, base=named, seed=0).eval()
    ids = torch.tensor([[11, 12, 13, 14, 15]])

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model(inputs_embeds=embedded).logits.logsumexp(-1).sum().backward()
        found: torch.Tensor = sure(embedded.grad)
        return found

    with torch.no_grad():
        before = model(ids).logits
    first = gradient()
    assert float(first.abs().max()) > 0
    model.train()
    assert torch.allclose(gradient(), first, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, before)
