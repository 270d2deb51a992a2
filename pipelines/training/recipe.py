"""The recipe of a supervised fine-tuning: every setting, so that one file tells the whole run.

None has a default but `neftune_by` and `optimizer.packs_per_pass`, which are younger than recipes that people have.
"""

from __future__ import annotations

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
