"""The recipes of trainings: every setting, so that one file tells the whole run.

Only settings that are younger than recipes that people have have a default.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from harness.config import Seed, StrictConfig

Positive = Annotated[int, Field(ge=1, le=10**9)]
Tokens = Annotated[int, Field(ge=1, le=10**13)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
RecipeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class BaseSettings(StrictConfig):
    """Which base model."""

    source: Annotated[str, Field(min_length=1)]  # "embedded", a hub id, or a folder
    revision: str | None  # commit of a hub id; null for embedded and folders


class LoraSettings(StrictConfig):
    """The adapter: W + (scale / rank) · BA on the chosen linear layers (arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=65_536)]
    scale: Annotated[int, Field(ge=1, le=10**6)]  # LoRA's "alpha"; the update is multiplied by scale / rank
    dropout: Share
    targets: Literal["all-linear"] | tuple[str, ...]  # QLoRA adapts every linear layer; the head is never one of them
    dora: bool  # weight-decomposed (arXiv 2402.09353)


class DataSettings(StrictConfig):
    """How much is seen, and in rows of what size."""

    train_tokens: Tokens | None  # budget of tokens seen, prompts included; or null and `epochs`
    epochs: Epochs | None
    pack_tokens: Positive  # longest row

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        if (self.train_tokens is None) == (self.epochs is None):
            raise ValueError("exactly one of `train_tokens` and `epochs` must be set")
        return self


class OptimizerSettings(StrictConfig):
    """How weights move."""

    name: Literal[
        "adamw", "adamw_8bit", "paged_adamw_8bit"
    ]  # 8-bit states need CUDA; elsewhere plain AdamW takes their place and the summary says so
    learning_rate: Annotated[float, Field(gt=0, le=100)]
    schedule: Literal["constant", "linear", "cosine"]  # after the warm-up
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)]
    packs_per_step: Positive  # gradient accumulation
    # packs that go through the model at once; auto: 1 on a CPU, on a GPU what its memory holds
    packs_per_pass: Positive | Literal["auto"] = Field(default="auto", exclude_if=lambda value: value == "auto")
    weight_decay: Annotated[float, Field(ge=0, le=100)]
    max_grad_norm: Annotated[float, Field(gt=0, le=1e9)]


class ValidationSettings(StrictConfig):
    """Loss on held-out films before, during and after."""

    every_steps: Positive
    max_tokens: Positive  # a fixed seeded sample of at most this many tokens
    patience: Positive | None  # stop after this many validations without a new best; null never stops


class TrainingRecipe(StrictConfig):
    """What every training of an adapter is told."""

    name: RecipeName
    base: BaseSettings
    quantization: Literal["nf4", "none"]  # nf4: 4-bit NormalFloat with double quantisation (QLoRA, arXiv 2305.14314)
    precision: Literal["auto", "bf16", "fp32"]  # auto: bf16 on CUDA, fp32 elsewhere
    optimizer: OptimizerSettings
    gradient_checkpointing: bool
    checkpoint_steps: Positive
    log_steps: Positive
    seed: Seed


class SftRecipe(TrainingRecipe):
    """Everything that decides a supervised fine-tuning, apart from the prepared data."""

    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"]  # auto: FlashAttention where it is installed
    lora: LoraSettings
    data: DataSettings
    neftune_alpha: Annotated[float, Field(gt=0, le=1e4)] | None  # noise on embeddings (2310.05914); null and 0 are off
    neftune_by: Literal["example", "pack"] = "example"  # whose length decides the noise; transformers takes the pack's
    validation: ValidationSettings

    @field_validator("neftune_alpha", mode="before")
    @classmethod
    def _zero_is_off(cls, value: object) -> object:
        return None if value == 0 and not isinstance(value, bool) else value

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """No noise, no length of it: such recipes stay what they were before there was a choice."""
        held: dict[str, Any] = dump(self)
        return {k: v for k, v in held.items() if k != "neftune_by" or self.neftune_alpha is not None}


# ── preferences ───────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── a small model from nothing ────────────────────────────────────────────────────────────────────────────────────────


class ArchitectureSettings(StrictConfig):
    """A Qwen2 decoder: rotary positions, RMSNorm, gated MLP, grouped-query attention, tied embeddings."""

    vocabulary: Annotated[int, Field(ge=300, le=10**7)]  # byte-level BPE of TRAIN films, control tokens included
    width: Positive
    layers: Positive
    heads: Positive
    key_value_heads: Positive
    mlp_width: Positive

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads or self.heads % self.key_value_heads:
            raise ValueError(
                f"`width` must be a multiple of `heads`, and `heads` of `key_value_heads`, got {self.width}, "
                f"{self.heads} and {self.key_value_heads}"
            )
        return self


class PretrainOptimizer(StrictConfig):
    """AdamW with a linear warm-up and a cosine decay to a tenth."""

    learning_rate: Annotated[float, Field(gt=0, le=100)]
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)]
    weight_decay: Annotated[float, Field(ge=0, le=100)]
    max_grad_norm: Annotated[float, Field(gt=0, le=1e9)]


class PretrainRecipe(StrictConfig):
    """Everything that decides a small base, apart from the prepared text."""

    name: RecipeName
    text_base: str  # whose tokenizer bounds the windows of text; the model's own is trained here
    architecture: ArchitectureSettings
    train_tokens: Tokens  # seen in all, in the model's own tokens
    row_tokens: Positive  # of a row; documents are laid end to end
    rows_per_step: Positive
    optimizer: PretrainOptimizer
    validation_tokens: Positive
    log_steps: Positive
    checkpoint_steps: Positive
    seed: Seed
