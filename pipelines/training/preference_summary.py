"""What a preference training leaves to be read beside what every training does: margins, lengths, its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.types import Adapter
from pipelines.preferences.training_order import PairPlan
from pipelines.training.history import best_step, validations
from pipelines.training.preference_trainer import HeldoutPairs
from pipelines.training.reference import ReferenceIdentity
from pipelines.training.summary import TrainingSummary, shared_facts


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


def summarise(
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
