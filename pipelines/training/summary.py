"""What a training leaves to be read: curves, rates, sizes, and what was resolved on this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.models.memory import peak_bytes
from harness.types import Adapter, BaseModel
from pipelines.training.arguments import resolve_optimizer
from pipelines.training.checkpoints import Checkpoint
from pipelines.training.history import CurvePoint, best_step, curve_points, validations
from pipelines.training.modeling import Runtime
from pipelines.training.neftune import NeftuneNoise, measure_noise
from pipelines.training.recipe import SftRecipe, TrainingRecipe

if TYPE_CHECKING:
    from pipelines.preferences.training_order import PairPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """A finished training of an adapter; `training.json` holds the same."""

    name: str
    base: BaseModel
    adapter: str  # folder name, beside training.json
    best_step: int  # the step whose weights were kept
    n_steps: int  # steps done; fewer than planned when stopped early
    n_planned_steps: int
    n_tokens: int  # seen, prompts included
    n_loss_tokens: int  # of these, under loss
    tokens_per_second: float  # training only, validation excluded
    validation_loss_before: float  # as the method has it
    validation_loss: float  # of the kept weights
    n_trainable: int  # parameters
    seconds: float  # training only, over all sessions
    wall_seconds: float  # this session: load, train, validate, save
    n_processes: int  # that trained it together
    sharding: str  # none, ddp or fsdp
    device: str
    precision: str
    attention: str
    quantization: str
    optimizer: str  # as resolved
    packs_per_pass: int = 1  # as resolved; older summaries have none
    seed: int
    peak_memory_bytes: int  # resident set of the process, its whole life
    peak_device_bytes: int | None  # CUDA allocator; None on a CPU
    resumed_from: int | None  # step
    curves: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SftSummary(TrainingSummary):
    """A finished supervised fine-tuning; losses are nats per loss token."""

    n_examples: int  # different examples seen
    n_epochs: int  # passes begun
    padding_share: float  # of positions computed
    validation_bits_per_byte_before: float
    validation_bits_per_byte: float
    neftune: NeftuneNoise | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldoutPairs:
    """What the policy does on pairs that it was not trained on."""

    loss: float  # the recipe's, mean over pairs (`sft`: over tokens of chosen replies)
    reward_margin: float  # beta times the gap, nats, mean over pairs
    reward_accuracy: float  # share of pairs with a positive gap; a gap of 0 counts one half
    chosen_log_ratio: float  # policy over reference, nats a reply
    rejected_log_ratio: float
    kl: float  # KL(policy, reference), nats a token, exact over the vocabulary, mean over the tokens of both replies


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceIdentity:
    """That the reference is the frozen SFT adapter (arXiv 2305.18290, section 4), as it was checked."""

    parent: str  # digest of the SFT adapter
    n_pairs: int  # whose log-ratios were taken at step 0
    largest_log_ratio: float  # of them, absolute, nats a reply
    tolerance: float  # above which the training would have been refused
    n_tensors: int  # of the reference that are those of the parent's file, bit for bit


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoSummary(TrainingSummary):
    """A finished preference training; losses are the recipe's, tokens those of both sequences of each pair."""

    parent: str  # digest of the SFT adapter: start and reference
    loss_type: str
    beta: float
    n_pairs: int  # different pairs trained on
    n_validation_pairs: int  # held out from this training, of films of their own
    n_too_long: int  # pairs left out for `max_tokens`
    shared_share: float  # of the tokens that needed no computing, because replies share their prompt
    pairs_per_second: float
    heldout: HeldoutPairs  # of the kept weights
    reply_tokens_before: float | None  # mean length of replies to held-out prompts; None where none were generated
    reply_tokens: float | None
    reference: ReferenceIdentity


def shared_facts(
    trainer: Any,
    recipe: TrainingRecipe,
    *,
    kept: int,
    base: BaseModel,
    runtime: Runtime,
    checkpoint: Checkpoint | None,
    began: float,
) -> dict[str, Any]:
    """The fields of `TrainingSummary`; `kept` is the step whose weights are kept, `began` by `time.perf_counter`."""
    import torch

    state, meter = trainer.state, trainer.meter
    before, after = (validations(state.log_history)[step] for step in (0, kept))
    return dict(
        name=recipe.name,
        base=base,
        adapter="adapter",
        best_step=kept,
        n_steps=state.global_step,
        n_planned_steps=state.max_steps,
        n_tokens=meter.n_tokens,
        n_loss_tokens=meter.n_loss_tokens,
        tokens_per_second=meter.n_tokens / meter.seconds,
        validation_loss_before=before["eval_loss"],
        validation_loss=after["eval_loss"],
        n_trainable=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        seconds=meter.seconds,
        wall_seconds=time.perf_counter() - began,
        n_processes=trainer.processes.n,
        sharding=trainer.processes.sharding,
        **asdict(runtime),
        quantization=recipe.quantization,
        optimizer=resolve_optimizer(recipe, runtime),
        packs_per_pass=trainer.packs_per_pass,
        seed=recipe.seed,
        peak_memory_bytes=peak_bytes(),
        peak_device_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        resumed_from=checkpoint.step if checkpoint else None,
        curves=tuple(curve_points(state.log_history)),
    )


def summarise(trainer: Any, recipe: SftRecipe, **context: Any) -> SftSummary:
    """The summary of a finished trainer; `context` is that of `shared_facts`."""
    state, meter = trainer.state, trainer.meter
    best = best_step(state.log_history)
    before, after = (validations(state.log_history)[step] for step in (0, best))
    seen = trainer.packs[: state.global_step * recipe.optimizer.packs_per_step]
    return SftSummary(
        **shared_facts(trainer, recipe, kept=best, **context),
        n_examples=len({row for pack in seen for row in pack.rows}),
        n_epochs=1 + max(pack.epoch for pack in seen),
        padding_share=1 - meter.n_tokens / meter.n_positions,
        validation_bits_per_byte_before=before["eval_bits_per_byte"],
        validation_bits_per_byte=after["eval_bits_per_byte"],
        neftune=measure_noise(recipe.neftune_alpha, trainer.examples, seen, applied=meter.noise, width=trainer.width),
    )


def summarise_preferences(
    trainer: Any, plan: PairPlan, *, parent: Adapter, reference: ReferenceIdentity, **context: Any
) -> DpoSummary:
    """The summary of a finished trainer; `context` is that of `shared_facts`."""
    state, meter, recipe = trainer.state, trainer.meter, trainer.recipe
    kept = best_step(state.log_history) if recipe.validation.keep == "best" else state.global_step
    before, after = (validations(state.log_history)[step] for step in (0, kept))
    seen = plan.packs[: state.global_step * recipe.optimizer.packs_per_step]
    return DpoSummary(
        **shared_facts(trainer, recipe, kept=kept, **context),
        parent=parent.digest,
        loss_type=recipe.loss.type,
        beta=recipe.loss.beta,
        n_pairs=len({row for pack in seen for row in pack}),
        n_validation_pairs=len(plan.validation),
        n_too_long=plan.n_too_long,
        shared_share=1 - meter.n_positions / meter.n_tokens,
        pairs_per_second=sum(len(pack) for pack in seen) / meter.seconds,
        heldout=HeldoutPairs(**{name: after[f"eval_{name}"] for name in HeldoutPairs.__slots__}),
        reply_tokens_before=before.get("eval_reply_tokens"),
        reply_tokens=after.get("eval_reply_tokens"),
        reference=reference,
    )
