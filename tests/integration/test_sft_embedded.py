"""The shipped recipe, shortened, on the real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config import load_yaml
from pipelines import sft
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.training.recipe import SftRecipe

pytestmark = [pytest.mark.model, pytest.mark.slow]

RECIPE = Path(__file__).resolve().parents[2] / "experiments" / "recipes" / "sft" / "embedded.yaml"


def test_two_thousand_tokens_lower_the_held_out_loss(tmp_path: Path) -> None:
    recipe = load_yaml(RECIPE, SftRecipe)
    recipe = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"train_tokens": 2080}),
            "optimizer": recipe.optimizer.model_copy(update={"warmup_steps": 0}),
            "validation": recipe.validation.model_copy(update={"max_tokens": 1200}),
        }
    )
    prepare.run(PrepareConfig(corpus="sample"), folder=tmp_path / "prepared")
    summary = sft.run(recipe, prepared=tmp_path / "prepared", folder=tmp_path / "sft")
    assert summary.validation_bits_per_byte < summary.validation_bits_per_byte_before
    assert summary.padding_share <= 0.02
    config = json.loads((tmp_path / "sft" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "embedded"
