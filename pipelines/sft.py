"""Supervised fine-tuning: prepared windows and a recipe in, an adapter and its curves out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.bases import load_tokenizer, resolve_base
from harness.models.quiet import quiet
from harness.store.artifacts import digest_file, digest_json, write_json
from harness.types import Progress
from pipelines.corpus.windows import examples_file, read_examples
from pipelines.training.checkpoints import open_checkpoints
from pipelines.training.meter import Meter
from pipelines.training.modeling import attach_lora, load_base, resolve_runtime
from pipelines.training.packing import plan_packs, plan_sample
from pipelines.training.passes import packs_per_pass
from pipelines.training.processes import join
from pipelines.training.recipe import SftRecipe

if TYPE_CHECKING:
    from pipelines.training.summary import SftSummary

REVISION = 3  # raise when the same recipe and data would give another adapter
RECIPE = SftRecipe


@quiet()
def run(
    recipe: SftRecipe,
    *,
    prepared: Path,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
    on_metric: Callable[[str, float, int], None] | None = None,
) -> SftSummary:
    """Train an adapter into `folder/adapter` and write `folder/training.json`.

    Killed at any moment, the next call with the same arguments resumes from the last complete checkpoint and ends with
    the same adapter (bit for bit on a CPU in float32). Several processes that `accelerate launch` started call it with
    the same arguments and train one adapter together; the first writes.

    Args:
        recipe: every setting of the training.
        prepared: folder of windows, as `prepare` writes it; TRAIN is trained on, VALIDATION chooses the weights.
        folder: where adapter, summary and (while it runs) checkpoints go.
        on_progress: told of every pack, in tokens.
        on_metric: told of every logged value: name, value, optimiser steps done.

    Raises:
        ConfigError: the data or the number of processes cannot meet a setting. SplitError: an example of another split.
        IntegrityError: `folder` holds checkpoints of another run. StageError: the loss is no number any more.
    """
    from pipelines.training.adapter_files import save_adapter
    from pipelines.training.arguments import sft_arguments
    from pipelines.training.callbacks import training_callbacks
    from pipelines.training.sft_trainer import PackedSFTTrainer
    from pipelines.training.summary import summarise

    began = time.perf_counter()
    # data
    train, validation = read_examples(prepared, "train"), read_examples(prepared, "validation")
    packs = plan_packs(
        train.lengths.tolist(),
        pack_tokens=recipe.data.pack_tokens,
        train_tokens=recipe.data.train_tokens,
        epochs=recipe.data.epochs,
        seed=recipe.seed,
    )
    validation_packs = plan_sample(
        validation.lengths.tolist(),
        pack_tokens=recipe.data.pack_tokens,
        max_tokens=recipe.validation.max_tokens,
        seed=recipe.seed,
    )

    # processes
    runtime = resolve_runtime(precision=recipe.precision, attention=recipe.attention)
    processes = join(runtime.device, packs_per_step=recipe.optimizer.packs_per_step, quantization=recipe.quantization)

    # model
    base = resolve_base(recipe.base.source, revision=recipe.base.revision)
    model = load_base(base, runtime=runtime, quantization=recipe.quantization)
    model = attach_lora(model, recipe.lora, base=base, seed=recipe.seed)

    at_once = packs_per_pass(
        recipe, model=model, runtime=runtime, processes=processes, longest=max(pack.n_tokens for pack in packs)
    )

    # trainer
    checkpoints = folder / "checkpoints"
    data = [digest_file(examples_file(prepared, split)) for split in ("train", "validation")]
    identity = digest_json(
        {"recipe": recipe.model_dump(), "data": data, "base": base.digest, "runtime": asdict(runtime)}
        | ({"packs_per_pass": at_once} if at_once > 1 else {})
    )
    with processes.first_then_others():
        checkpoint = open_checkpoints(checkpoints, identity=identity)
    meter = Meter(**checkpoint.progress) if checkpoint else Meter()
    trainer = PackedSFTTrainer(
        model,
        args=sft_arguments(
            recipe,
            runtime=runtime,
            folder=checkpoints,
            is_resumed=checkpoint is not None,
            processes=processes,
            packs_per_pass=at_once,
        ),
        tokenizer=load_tokenizer(base),
        examples=train,
        packs=packs,
        validation=validation,
        validation_packs=validation_packs,
        is_variable_length=runtime.is_variable_length,
        neftune=(recipe.neftune_alpha, recipe.neftune_by),
        meter=meter,
        processes=processes,
        callbacks=training_callbacks(
            checkpoints,
            meter,
            processes=processes,
            n_tokens=sum(pack.n_tokens for pack in packs),
            patience=recipe.validation.patience,
            on_progress=on_progress,
            on_metric=on_metric,
        ),
    )

    # train
    trainer.train(resume_from_checkpoint=str(checkpoint.folder) if checkpoint else None)

    # save
    save_adapter(trainer.model, folder / "adapter", is_writer=processes.is_first)

    # summary
    summary = summarise(trainer, recipe, base=base, runtime=runtime, checkpoint=checkpoint, began=began)
    processes.wait()
    if processes.is_first:
        write_json(folder / "training.json", summary)
        shutil.rmtree(checkpoints)
    return summary


def metrics(summary: SftSummary) -> Mapping[str, float]:
    """The figures worth a column in the registry."""
    return {"validation_loss": summary.validation_loss, "validation_bits_per_byte": summary.validation_bits_per_byte}


def describe(recipe: SftRecipe) -> str:
    """The method in a few words."""
    noise = f", NEFTune {recipe.neftune_alpha:g}" if recipe.neftune_alpha else ""
    return f"SFT, {'QLoRA (NF4)' if recipe.quantization == 'nf4' else 'LoRA'}, rank {recipe.lora.rank}{noise}"


def seen(summary: SftSummary) -> Mapping[str, str]:
    """How much was trained on."""
    return {"Tokens seen": f"{summary.n_tokens:,}"}
