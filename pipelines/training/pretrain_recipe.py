"""The recipe of a small model trained from nothing: every setting, none with a default."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from harness.config import Seed, StrictConfig
from pipelines.training.recipe import Positive, RecipeName, Tokens


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
