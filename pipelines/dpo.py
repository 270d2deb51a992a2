"""Preference training: pairs, an SFT adapter and a recipe in, an adapter and its curves out."""

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
from harness.types import Adapter, Progress
from pipelines.preferences.pair_files import PAIRS, read_pairs
from pipelines.preferences.training_order import plan_pairs
from pipelines.training.checkpoints import open_checkpoints
from pipelines.training.meter import Meter
from pipelines.training.modeling import attach_adapter, load_base, require_same_base, resolve_runtime
from pipelines.training.passes import packs_per_pass
from pipelines.training.processes import join
from pipelines.training.recipe import DpoRecipe

if TYPE_CHECKING:
    from pipelines.training.summary import DpoSummary

REVISION = 1  # raise when the same recipe, parent and pairs would give another adapter
RECIPE = DpoRecipe


@quiet()
def run(
    recipe: DpoRecipe,
    *,
    prepared: Path,
    pairs: Path,
    parent: Adapter,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
    on_metric: Callable[[str, float, int], None] | None = None,
) -> DpoSummary:
    """Train the parent on into `folder/adapter` and write `folder/training.json`.

    Killed at any moment, the next call with the same arguments resumes from the last complete checkpoint and ends with
    the same adapter (bit for bit on a CPU in float32). Several processes that `accelerate launch` started call it with
    the same arguments and train one adapter together; the first writes.

    Args:
        recipe: every setting of the training.
        prepared: folder of windows, as `prepare` writes it; held-out rows near a pair are a reason to refuse.
        pairs: folder of pairs, as the pairs stage writes it.
        parent: the SFT adapter: where the policy starts, and, frozen, the reference.
        folder: where adapter, summary and (while it runs) checkpoints go.
        on_progress: told of every row, in tokens.
        on_metric: told of every logged value: name, value, optimiser steps done.

    Raises:
        InputError: the parent is of another base, or chosen and rejected of a pair are the same.
        SplitError: a pair of another split than TRAIN, or near a row of one.
        ConfigError: the pairs or the number of processes cannot meet a setting.
        IntegrityError: `folder` holds checkpoints of another run, or the policy does not start as the reference.
        StageError: the loss is no number any more.
    """
    from pipelines.training.adapter_files import save_adapter
    from pipelines.training.arguments import dpo_arguments
    from pipelines.training.callbacks import training_callbacks
    from pipelines.training.preference_trainer import PreferenceTrainer
    from pipelines.training.reference import ReferenceFirst
    from pipelines.training.summary import summarise_preferences

    began = time.perf_counter()
    # data
    base = resolve_base(recipe.base.source, revision=recipe.base.revision)
    require_same_base(parent, base)
    tokenizer = load_tokenizer(base)
    plan = plan_pairs(
        read_pairs(pairs),
        tokenizer=tokenizer,
        prepared=prepared,
        settings=recipe.data,
        n_validation=recipe.validation.n_pairs,
        seed=recipe.seed,
    )

    # processes
    runtime = resolve_runtime(
        precision=recipe.precision, attention="sdpa" if recipe.attention == "auto" else recipe.attention
    )
    processes = join(runtime.device, packs_per_step=recipe.optimizer.packs_per_step, quantization=recipe.quantization)

    # model
    model = load_base(base, runtime=runtime, quantization=recipe.quantization)
    model = attach_adapter(model, parent)

    at_once = packs_per_pass(recipe, model=model, runtime=runtime, processes=processes, longest=plan.longest_row)

    # trainer
    checkpoints = folder / "checkpoints"
    identity = digest_json(
        {
            "recipe": recipe.model_dump(exclude={"parent"}),
            "data": digest_file(pairs / PAIRS),
            "base": base.digest,
            "parent": parent.digest,
            "runtime": asdict(runtime),
        }
        | ({"packs_per_pass": at_once} if at_once > 1 else {})
    )
    with processes.first_then_others():
        checkpoint = open_checkpoints(checkpoints, identity=identity)
    meter = Meter(**checkpoint.progress) if checkpoint else Meter()
    trainer = PreferenceTrainer(
        model,
        args=dpo_arguments(
            recipe,
            runtime=runtime,
            folder=checkpoints,
            is_resumed=checkpoint is not None,
            processes=processes,
            packs_per_pass=at_once,
        ),
        tokenizer=tokenizer,
        recipe=recipe,
        pairs=plan.train,
        packs=plan.packs,
        validation=plan.validation,
        meter=meter,
        processes=processes,
        callbacks=training_callbacks(
            checkpoints,
            meter,
            processes=processes,
            n_tokens=plan.n_tokens,
            keeps_best=recipe.validation.keep == "best",
            on_progress=on_progress,
            on_metric=on_metric,
        ),
    )
    reference = ReferenceFirst(trainer, parent=parent, folder=checkpoints, precision=runtime.precision)
    trainer.add_callback(reference)

    # train
    trainer.train(resume_from_checkpoint=str(checkpoint.folder) if checkpoint else None)

    # save
    save_adapter(trainer.model, folder / "adapter", is_writer=processes.is_first)

    # summary
    summary = summarise_preferences(
        trainer, plan, base=base, parent=parent, reference=reference.identity, runtime=runtime, checkpoint=checkpoint,
        began=began,
    )  # fmt: skip
    processes.wait()
    if processes.is_first:
        write_json(folder / "training.json", summary)
        shutil.rmtree(checkpoints)
    return summary


def metrics(summary: DpoSummary) -> Mapping[str, float]:
    """The figures worth a column in the registry."""
    return {
        "validation_reward_margin": summary.heldout.reward_margin,
        "validation_reward_accuracy": summary.heldout.reward_accuracy,
        "validation_kl": summary.heldout.kl,
    }


def describe(recipe: DpoRecipe) -> str:
    """The method in a few words."""
    loss = recipe.loss
    if loss.type == "sft":
        return "further SFT on chosen replies"
    smoothed = f", label smoothing {loss.label_smoothing:g}" if loss.label_smoothing else ""
    lengths = "" if loss.ld_alpha is None else f", length-desensitised {loss.ld_alpha:g}"
    term = f", {loss.sft_weight:g} × SFT on chosen replies" if loss.sft_weight else ""
    return f"DPO, {loss.type} loss, β = {loss.beta:g}{smoothed}{lengths}{term}"


def seen(summary: DpoSummary) -> Mapping[str, str]:
    """How much was trained on."""
    return {"Pairs": f"{summary.n_pairs:,}"}
