"""Preference pairs from TRAIN prompts: candidates ranked by a judge, or the human reply against a sample."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config import StrictConfig

REVISION = 1  # raise when the same config, data and parent would give other pairs


class PairsConfig(StrictConfig):
    """Every setting of a set of pairs."""

    method: Literal["judge", "reference"] = "judge"  # the judge's best against its worst, or the human against a sample
    n_pairs: Annotated[int, Field(ge=1)] = 10_000  # wanted; prompts are drawn until there are so many, or none is left
    n_candidates: Annotated[int, Field(ge=1, le=64)] = 4  # replies of the parent a prompt; `reference` takes one
    judge: str | None = None  # folder of a judge; with `judge` alone
    criterion: str | None = None  # of that judge; its first when left out
    min_margin: Annotated[float, Field(ge=0)] = 0.0  # in the judge's units; a smaller difference makes no pair
    max_prompt_tokens: Annotated[int, Field(ge=8)] = 384  # a longer prompt is passed over
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    temperature: Annotated[float, Field(gt=0, le=5)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
