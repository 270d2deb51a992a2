"""The recipe as the trainer's arguments; the one place where our words meet transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.modeling import Runtime
from pipelines.training.dpo_recipe import DpoRecipe
from pipelines.training.processes import Processes
from pipelines.training.recipe import SftRecipe

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_OPTIMIZERS = {"adamw": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit", "paged_adamw_8bit": "paged_adamw_8bit"}


def resolve_optimizer(recipe: SftRecipe | DpoRecipe, runtime: Runtime) -> str:
    """The optimiser by transformers' name; 8-bit states live on CUDA only."""
    wanted = recipe.optimizer.name
    return _OPTIMIZERS[wanted if runtime.device == "cuda" else "adamw"]


def training_arguments(
    recipe: SftRecipe, *, runtime: Runtime, folder: Path, is_resumed: bool, processes: Processes
) -> Any:
    """An `SFTConfig`; checkpoints go to `folder`. Every default of TRL that costs time or changes results is set."""
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        **_shared(recipe, runtime=runtime, folder=folder, is_resumed=is_resumed, processes=processes),
        neftune_noise_alpha=recipe.neftune_alpha,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def preference_arguments(
    recipe: DpoRecipe, *, runtime: Runtime, folder: Path, is_resumed: bool, processes: Processes
) -> Any:
    """A `DPOConfig`; the reference's log-probabilities are ours, so TRL must not compute them again."""
    from trl.trainer.dpo_config import DPOConfig

    return DPOConfig(
        **_shared(recipe, runtime=runtime, folder=folder, is_resumed=is_resumed, processes=processes),
        beta=recipe.loss.beta,
        label_smoothing=recipe.loss.label_smoothing,
        ld_alpha=recipe.loss.ld_alpha,
        loss_type=[recipe.loss.type],
        precompute_ref_log_probs=False,
        disable_dropout=True,  # log-ratios of two passes with different noise would not be 0 at step 0
    )


def _shared(
    recipe: SftRecipe | DpoRecipe, *, runtime: Runtime, folder: Path, is_resumed: bool, processes: Processes
) -> dict[str, Any]:
    """What every training is told."""
    return dict(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # one pack is one row
        gradient_accumulation_steps=processes.divide(recipe.optimizer.packs_per_step),
        num_train_epochs=1,  # the plan of packs holds all epochs
        learning_rate=recipe.optimizer.learning_rate,
        lr_scheduler_type=_SCHEDULES[recipe.optimizer.schedule],
        warmup_steps=recipe.optimizer.warmup_steps,
        weight_decay=recipe.optimizer.weight_decay,
        max_grad_norm=recipe.optimizer.max_grad_norm,
        optim=resolve_optimizer(recipe, runtime),
        gradient_checkpointing=recipe.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recipe.gradient_checkpointing else None,
        bf16=runtime.precision == "bf16",
        use_cpu=runtime.device == "cpu",
        ddp_find_unused_parameters=False,  # every weight of the adapter is in every row
        eval_strategy="steps",
        eval_steps=recipe.validation.every_steps,
        eval_on_start=not is_resumed,
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,  # the one before is needed until the new one is marked complete
        logging_strategy="steps",
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,  # it hides a diverged loss behind the mean of earlier ones
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        max_length=None,
        train_sampling_strategy="sequential",  # the plan is shuffled already
        dataloader_pin_memory=runtime.device == "cuda",
        seed=recipe.seed,
    )
