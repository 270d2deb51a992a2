"""Training speed as ratios measured in one run: our trainer and TRL's own, each over a bare PyTorch loop.

`pytest tests/benchmarks/test_sft_speed.py -s` prints the table of docs/training.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import load_yaml
from harness.models.bases import load_tokenizer, resolve_base
from pipelines import sft
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.corpus.windows import ExampleTable, read_examples
from pipelines.training.modeling import attach_lora, load_base, resolve_runtime
from pipelines.training.packing import FlatPack, flatten, plan_packs
from pipelines.training.recipe import SftRecipe

pytestmark = [pytest.mark.model, pytest.mark.slow]

RECIPE = Path(__file__).resolve().parents[2] / "experiments" / "recipes" / "sft" / "embedded.yaml"
TOKENS = 2080  # four packs
ROUNDS = 2  # interleaved; the best of each counts, since other work on the machine only ever slows


def short_recipe() -> SftRecipe:
    recipe = load_yaml(RECIPE, SftRecipe)
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"train_tokens": TOKENS}),
            "validation": recipe.validation.model_copy(update={"max_tokens": 600, "every_steps": 100}),
        }
    )


def fresh_model(recipe: SftRecipe) -> Any:
    base = resolve_base(recipe.base.source)
    runtime = resolve_runtime(precision=recipe.precision, attention=recipe.attention)
    model = load_base(base, runtime=runtime, quantization=recipe.quantization)
    return attach_lora(model, recipe.lora, base=base, seed=0)


def bare_loop(recipe: SftRecipe, packs: Sequence[FlatPack]) -> float:
    """Tokens per second of the loop that one would write by hand: all logits, cross-entropy, clip, step."""
    model = fresh_model(recipe).train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=recipe.optimizer.learning_rate)
    began = time.perf_counter()
    for number, pack in enumerate(packs, start=1):
        labels = torch.full_like(pack.input_ids, -100)
        labels[0, pack.loss_positions] = pack.targets
        logits = model(**pack.model_inputs(is_variable_length=False)).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        (loss / recipe.optimizer.packs_per_step).backward()
        if number % recipe.optimizer.packs_per_step == 0 or number == len(packs):
            torch.nn.utils.clip_grad_norm_(trainable, recipe.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return sum(pack.input_ids.numel() for pack in packs) / (time.perf_counter() - began)


def trl_defaults(recipe: SftRecipe, examples: ExampleTable, rows: Sequence[int], folder: Path) -> float:
    """Tokens per second of SFTTrainer as it comes; only bf16, which a CPU cannot do, is off."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class Counting(SFTTrainer):
        def _send_telemetry(self) -> None:
            pass

    taken = [examples[row] for row in rows]
    data = Dataset.from_dict(
        {
            "input_ids": [list(example.input_ids) for example in taken],
            "completion_mask": [[int(flag) for flag in example.loss_mask] for example in taken],
        }
    )
    arguments = SFTConfig(
        output_dir=str(folder), bf16=False, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no",
        packing=True, max_length=recipe.data.pack_tokens, per_device_train_batch_size=1, num_train_epochs=1,
        gradient_accumulation_steps=recipe.optimizer.packs_per_step, neftune_noise_alpha=recipe.neftune_alpha,
    )  # fmt: skip
    tokenizer = load_tokenizer(resolve_base(recipe.base.source))
    trainer = Counting(fresh_model(recipe), args=arguments, train_dataset=data, processing_class=tokenizer)
    began = time.perf_counter()
    trainer.train()
    return sum(len(example.input_ids) for example in taken) / (time.perf_counter() - began)


@pytest.mark.filterwarnings("ignore")  # TRL's defaults warn; the subject here is their speed
def test_training_is_as_fast_as_a_bare_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = short_recipe()
    prepared = tmp_path / "prepared"
    prepare.run(PrepareConfig(corpus="sample"), folder=prepared)
    examples = read_examples(prepared, "train")
    plan = plan_packs(
        examples.lengths.tolist(), pack_tokens=512, train_tokens=TOKENS, epochs=None, seed=recipe.seed
    )  # what `sft.run` plans
    packs = [flatten([examples[row] for row in pack.rows]) for pack in plan]
    rows = [row for pack in plan for row in pack.rows]
    rounds = iter(range(1000))

    def ours() -> float:
        summary = sft.run(recipe, prepared=prepared, folder=tmp_path / f"ours-{next(rounds)}")
        assert summary.n_tokens == sum(pack.n_tokens for pack in plan)
        return summary.tokens_per_second

    contenders: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare_loop(recipe, packs),
        "ours": ours,
        "TRL's defaults": lambda: trl_defaults(recipe, examples, rows, tmp_path / "trl"),
    }
    best = {name: 0.0 for name in contenders}
    for _ in range(ROUNDS):
        for name, measure in contenders.items():
            best[name] = max(best[name], measure())
    with capsys.disabled():
        for name, rate in best.items():
            print(f"\n{name:16} {rate:7.1f} tokens/s  {rate / best['bare loop']:.2f} of the bare loop", end="")
        print()
    assert best["ours"] >= 0.85 * best["bare loop"]
