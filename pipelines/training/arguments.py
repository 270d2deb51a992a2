"""The recipe as the trainer's arguments; the one place where our words meet transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.training.modeling import Runtime
from pipelines.training.processes import Processes
from pipelines.training.recipe import DpoRecipe, PretrainRecipe, SftRecipe, TrainingRecipe

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_OPTIMIZERS = {"adamw": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit", "paged_adamw_8bit": "paged_adamw_8bit"}


def resolve_optimizer(recipe: TrainingRecipe, runtime: Runtime) -> str:
    """The optimiser by transformers' name; 8-bit states live on CUDA only."""
    wanted = recipe.optimizer.name
    return _OPTIMIZERS[wanted if runtime.device == "cuda" else "adamw"]


def sft_arguments(recipe: SftRecipe, **context: Any) -> Any:
    """An `SFTConfig`; `context` as in `_shared`. Each default of TRL that costs time or changes results is set."""
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        **_shared(recipe, **context),
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def dpo_arguments(recipe: DpoRecipe, **context: Any) -> Any:
    """A `DPOConfig`; the reference's log-probabilities are ours, so TRL must not compute them again."""
    from trl.trainer.dpo_config import DPOConfig

    return DPOConfig(
        **_shared(recipe, **context),
        beta=recipe.loss.beta,
        label_smoothing=recipe.loss.label_smoothing,
        ld_alpha=recipe.loss.ld_alpha,
        loss_type=[recipe.loss.type],
        precompute_ref_log_probs=False,
        disable_dropout=True,  # log-ratios of two passes with different noise would not be 0 at step 0
    )


def pretrain_arguments(recipe: PretrainRecipe, *, folder: Path) -> Any:
    """`TrainingArguments`: AdamW on a linear warm-up and a cosine decay to a tenth, matrices alone decayed."""
    from transformers import TrainingArguments

    return TrainingArguments(
        **_loop(recipe, folder=folder, every_steps=recipe.log_steps),
        per_device_train_batch_size=recipe.rows_per_step,
        per_device_eval_batch_size=recipe.rows_per_step,
        adam_beta2=0.95,
        optim="adamw_torch",
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        use_cpu=True,  # so small a model gains nothing from a GPU, and is the same on every machine
    )


def _loop(recipe: TrainingRecipe | PretrainRecipe, *, folder: Path, every_steps: int) -> dict[str, Any]:
    """What every loop is told: one pass over a plan, validated every so many steps, checkpoints in `folder`."""
    return dict(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan of packs or rows holds all epochs
        learning_rate=recipe.optimizer.learning_rate,
        warmup_steps=recipe.optimizer.warmup_steps,
        weight_decay=recipe.optimizer.weight_decay,
        max_grad_norm=recipe.optimizer.max_grad_norm,
        eval_strategy="steps",
        eval_steps=every_steps,
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,  # the one before is needed until the new one is marked complete
        logging_strategy="steps",
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,  # it hides a diverged loss behind the mean of earlier ones
        disable_tqdm=True,
        report_to="none",
        train_sampling_strategy="sequential",  # the plan is shuffled already
        seed=recipe.seed,
    )


def _shared(
    recipe: SftRecipe | DpoRecipe,
    *,
    runtime: Runtime,
    folder: Path,
    is_resumed: bool,
    processes: Processes,
    packs_per_pass: int,
) -> dict[str, Any]:
    """What every training of an adapter is told."""
    return dict(
        **_loop(recipe, folder=folder, every_steps=recipe.validation.every_steps),
        per_device_train_batch_size=packs_per_pass,
        gradient_accumulation_steps=processes.divide(recipe.optimizer.packs_per_step) // packs_per_pass,
        lr_scheduler_type=_SCHEDULES[recipe.optimizer.schedule],
        optim=resolve_optimizer(recipe, runtime),
        gradient_checkpointing=recipe.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recipe.gradient_checkpointing else None,
        bf16=runtime.precision == "bf16",
        use_cpu=runtime.device == "cpu",
        ddp_find_unused_parameters=False,  # every weight of the adapter is in every row
        eval_on_start=not is_resumed,
        remove_unused_columns=False,
        max_length=None,
        dataloader_pin_memory=runtime.device == "cuda",
    )
