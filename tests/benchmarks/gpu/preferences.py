"""DPO of a shape: the product's own trainer and TRL's, on the same pairs, from the adapter that SFT has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.gpu.data import RECIPES, checkpoint, pairs_folder, prepared
from benchmarks.gpu.measuring import Clock, Job, StepClock, step_callback
from benchmarks.gpu.settings import has_capped, small, trl_options

if TYPE_CHECKING:
    from harness.types import Adapter
    from pipelines.preferences.training_order import PairPlan
    from pipelines.training.recipe import DpoRecipe

PRODUCT, CAPPED, TRL = "DPO, Screentest", "DPO, Screentest, 8 GB", "DPO, TRL"


def dpo(job: Job) -> None:
    """Both; the product's also with the memory of an 8 GB card."""
    recipe, parent = _recipe(job), _parent(job)
    plan = _plan(job, recipe)
    for case, run in ((PRODUCT, _product), (TRL, _trl), (CAPPED, _product)):
        if case == CAPPED and not has_capped(job):
            continue
        with job.case(case, is_capped=case == CAPPED) as figures:
            figures |= {"quantization": recipe.quantization, **run(job, recipe, parent, plan)}


def _recipe(job: Job) -> DpoRecipe:
    from harness.config import load_yaml
    from pipelines.training.recipe import BaseSettings, DpoRecipe

    recipe = load_yaml(RECIPES / "dpo" / job.shape.recipe, DpoRecipe)
    held = {"every_steps": 1000, "n_pairs": 2, "n_replies": 0}
    changes = small(recipe, job) | {
        "base": BaseSettings(source=str(checkpoint(job).resolve()), revision=None),
        "data": recipe.data.model_copy(update={"n_pairs": 12 if job.is_tiny else 48}),
        "validation": recipe.validation.model_copy(update=held),
    }
    return recipe.model_copy(update=changes)


def _parent(job: Job) -> Adapter:
    from harness.models.bases import resolve_base
    from harness.registry import open_adapter

    return open_adapter(job.folder / f"{job.shape.name}-sft" / "adapter", base=resolve_base(str(checkpoint(job))))


def _plan(job: Job, recipe: DpoRecipe) -> PairPlan:
    from harness.models.bases import load_tokenizer, resolve_base
    from pipelines.preferences.pair_files import read_pairs
    from pipelines.preferences.training_order import plan_pairs

    return plan_pairs(
        read_pairs(pairs_folder(job)), tokenizer=load_tokenizer(resolve_base(recipe.base.source)),
        prepared=prepared(job), settings=recipe.data, n_validation=recipe.validation.n_pairs, seed=recipe.seed,
    )  # fmt: skip


def _product(job: Job, recipe: DpoRecipe, parent: Adapter, plan: PairPlan) -> dict[str, Any]:
    """The first moment is before the reference is asked: `whole_tokens_per_s` has it, as every step of TRL's has."""
    from pipelines import dpo as product

    n = recipe.optimizer.packs_per_step
    tokens = [
        sum(plan.train[row].n_tokens for pack in plan.packs[begin : begin + n] for row in pack)
        for begin in range(0, len(plan.packs), n)
    ]
    clock = StepClock(job.device, tokens=tokens)
    folder = job.folder / f"{job.shape.name}-dpo"
    summary = product.run(
        recipe, prepared=prepared(job), pairs=pairs_folder(job), parent=parent, folder=folder, on_progress=clock
    )
    return clock.rates(tokens) | {
        name: getattr(summary, name) for name in ("attention", "precision", "packs_per_pass", "n_pairs")
    }


def _trl(job: Job, recipe: DpoRecipe, parent: Adapter, plan: PairPlan) -> dict[str, Any]:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from harness.models.bases import load_tokenizer
    from pipelines.training.modeling import attach_adapter, load_base, resolve_runtime

    class Silent(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # tokenised already, as the product's

        def _send_telemetry(self) -> None:
            """Nothing leaves the machine."""

    pairs = [plan.train[row] for pack in plan.packs for row in pack]
    columns = {
        "prompt_ids": [list(pair.prompt) for pair in pairs],
        "chosen_ids": [list(pair.chosen) for pair in pairs],
        "rejected_ids": [list(pair.rejected) for pair in pairs],
    }
    settings = DPOConfig(
        **trl_options(job),
        max_length=None,
        per_device_train_batch_size=recipe.data.pairs_per_pack,
        gradient_accumulation_steps=recipe.optimizer.packs_per_step,
        learning_rate=recipe.optimizer.learning_rate,
        beta=recipe.loss.beta,
    )
    runtime = resolve_runtime(precision=recipe.precision, attention="sdpa")
    model = attach_adapter(load_base(parent.base, runtime=runtime, quantization=recipe.quantization), parent)
    clock = Clock(job.device)
    trainer = Silent(
        model, args=settings, train_dataset=Dataset.from_dict(columns),
        processing_class=load_tokenizer(parent.base), callbacks=[step_callback(clock)],
    )  # fmt: skip
    trainer.train()
    n_steps = len(clock.moments) - 1
    return clock.rates([plan.n_tokens // n_steps] * n_steps)
