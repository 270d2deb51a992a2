"""The recipe of a preference training: every setting; only younger ones than recipes that people have have defaults."""

from __future__ import annotations

import operator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.config import StrictConfig
from pipelines.training.recipe import Epochs, Positive, TrainingRecipe


class PairSettings(StrictConfig):
    """Which pairs are seen, and in rows of what size."""

    n_pairs: Positive | None  # drawn evenly over films, after those held out; null takes all
    epochs: Epochs
    pairs_per_pack: Positive  # pairs in one row; a row is a micro-batch
    max_tokens: Positive  # of a prompt with its longer reply; a longer pair is left out and counted


class LossSettings(StrictConfig):
    """What is minimised. `sft` is the control: likelihood of the chosen replies alone, all else the same."""

    type: Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down", "sft"]
    beta: Annotated[float, Field(gt=0, le=1e4)]  # how dearly leaving the reference is paid
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]  # assumed share of pairs whose preference is wrong
    ld_alpha: Annotated[float, Field(ge=0, le=1)] | None  # weight of tokens beyond the shorter reply; null counts all
    # of the likelihood of the chosen reply, a token, added to the loss; younger than recipes that people have
    sft_weight: float = Field(default=0.0, ge=0, le=1e3, exclude_if=operator.not_)

    @model_validator(mode="after")
    def _smooths_where_it_can(self) -> Self:
        if self.label_smoothing and self.type not in ("sigmoid", "robust"):
            raise ValueError(f"`label_smoothing` must be 0 with `type: {self.type}`, which does not know it")
        if self.ld_alpha is not None and self.type == "sft":
            raise ValueError("`ld_alpha` must be null with `type: sft`, which compares no lengths")
        if self.sft_weight and self.type == "sft":
            raise ValueError("`sft_weight` must be 0 with `type: sft`, which is that term alone")
        return self


class PreferenceValidation(StrictConfig):
    """Held-out pairs and replies before, during and after; their films give no training pair."""

    every_steps: Positive
    n_pairs: Positive  # at least so many, from films of their own
    n_replies: Annotated[int, Field(ge=0, le=10**6)]  # replies generated to their prompts, for reply length; 0 is none
    max_new_tokens: Positive  # of these replies
    keep: Literal["last", "best"]  # whose weights: the last step's, or the step's of the lowest validation loss


class DpoRecipe(TrainingRecipe):
    """Everything that decides a preference training, apart from prepared data, parent and pairs."""

    parent: Annotated[str, Field(min_length=1)]  # the adapter that goes on and is the reference: name@alias, name/2
    attention: Literal["auto", "sdpa", "eager"]  # auto: sdpa, since FlashAttention takes no tree of replies
    data: PairSettings
    loss: LossSettings
    validation: PreferenceValidation

    def as_control(self) -> DpoRecipe:
        """Further SFT on the chosen replies: the same pairs, order, steps and rates; the loss alone is another."""
        loss = LossSettings(type="sft", beta=self.loss.beta, label_smoothing=0.0, ld_alpha=None)
        return self.model_copy(update={"name": f"{self.name}-chosen-sft", "loss": loss})
