"""What a preference training leaves to be read: curves, margins, lengths, and what was resolved on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from harness.models.memory import peak_bytes
from harness.types import Adapter, BaseModel
from pipelines.modeling import Runtime, count_trainable
from pipelines.preferences.plan import PairPlan
from pipelines.training.arguments import resolve_optimizer
from pipelines.training.checkpoints import Checkpoint
from pipelines.training.history import CurvePoint, best_step, curve_points, validations
from pipelines.training.preference_trainer import HeldoutPairs
from pipelines.training.reference import ReferenceIdentity
from pipelines.training.summary import peak_device_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoSummary:
    """A finished preference training; `training.json` holds the same."""

    name: str
    base: BaseModel
    adapter: str  # folder name, beside training.json
    parent: str  # digest of the SFT adapter: start and reference
    loss_type: str
    beta: float
    best_step: int  # the step whose weights were kept
    n_steps: int
    n_planned_steps: int
    n_pairs: int  # different pairs trained on
    n_validation_pairs: int  # held out from this training, of films of their own
    n_too_long: int  # pairs left out for `max_tokens`
    n_tokens: int  # of both sequences of each pair, prompts counted twice
    n_loss_tokens: int  # of these, reply tokens
    shared_share: float  # of the tokens that needed no computing, because replies share their prompt
    tokens_per_second: float  # training only, reference and validation excluded
    pairs_per_second: float
    validation_loss_before: float  # the recipe's loss on held-out pairs
    validation_loss: float  # of the kept weights
    heldout: HeldoutPairs  # of the kept weights
    reply_tokens_before: float | None  # mean length of replies to held-out prompts; None where none were generated
    reply_tokens: float | None
    reference: ReferenceIdentity
    n_trainable: int
    seconds: float  # training only, over all sessions
    wall_seconds: float  # this session: load, reference, train, validate, save
    n_processes: int  # that trained it together
    sharding: str  # none, ddp or fsdp
    device: str
    precision: str
    attention: str
    quantization: str
    optimizer: str  # as resolved
    seed: int
    peak_memory_bytes: int
    peak_device_bytes: int | None
    resumed_from: int | None  # step
    curves: tuple[CurvePoint, ...]


def summarise(
    trainer: Any,
    plan: PairPlan,
    *,
    base: BaseModel,
    parent: Adapter,
    reference: ReferenceIdentity,
    runtime: Runtime,
    checkpoint: Checkpoint | None,
    began: float,
) -> DpoSummary:
    """The summary of a finished trainer; `began` is when the session did, by `time.perf_counter`."""
    state, meter, recipe = trainer.state, trainer.meter, trainer.recipe
    entries = validations(state.log_history)
    kept = best_step(state.log_history) if recipe.validation.keep == "best" else state.global_step
    before, after = entries[0], entries[kept]
    seen = plan.packs[: state.global_step * recipe.optimizer.packs_per_step]
    return DpoSummary(
        name=recipe.name,
        base=base,
        adapter="adapter",
        parent=parent.digest,
        loss_type=recipe.loss.type,
        beta=recipe.loss.beta,
        best_step=kept,
        n_steps=state.global_step,
        n_planned_steps=state.max_steps,
        n_pairs=len({row for pack in seen for row in pack}),
        n_validation_pairs=len(plan.validation),
        n_too_long=plan.n_too_long,
        n_tokens=meter.n_tokens,
        n_loss_tokens=meter.n_loss_tokens,
        shared_share=1 - meter.n_positions / meter.n_tokens,
        tokens_per_second=meter.n_tokens / meter.seconds,
        pairs_per_second=sum(len(pack) for pack in seen) / meter.seconds,
        validation_loss_before=before["eval_loss"],
        validation_loss=after["eval_loss"],
        heldout=HeldoutPairs(**{name: after[f"eval_{name}"] for name in HeldoutPairs.__slots__}),
        reply_tokens_before=before.get("eval_reply_tokens"),
        reply_tokens=after.get("eval_reply_tokens"),
        reference=reference,
        n_trainable=count_trainable(trainer.model),
        seconds=meter.seconds,
        wall_seconds=time.perf_counter() - began,
        n_processes=trainer.processes.n,
        sharding=trainer.processes.sharding,
        device=runtime.device,
        precision=runtime.precision,
        attention=runtime.attention,
        quantization=recipe.quantization,
        optimizer=resolve_optimizer(recipe, runtime),
        seed=recipe.seed,
        peak_memory_bytes=peak_bytes(),
        peak_device_bytes=peak_device_bytes(),
        resumed_from=checkpoint.step if checkpoint else None,
        curves=tuple(curve_points(state.log_history)),
    )
