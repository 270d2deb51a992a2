"""A small base from nothing: it learns, it resumes to the same weights, and it is a base like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stories import EXPERIMENTS

from harness.config import load_yaml, parse
from harness.errors import ConfigError, InputError
from harness.experiment.kinds import BASE_FOLDER
from harness.models.bases import load_tokenizer, resolve_base
from harness.models.chat_templates import chat_format
from pipelines import pretrain
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.training.recipe import PretrainRecipe

SMALL: dict[str, Any] = {
    "name": "tiny",
    "text_base": "embedded",
    "architecture": {"vocabulary": 400, "width": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "mlp_width": 48},
    "train_tokens": 6000,
    "row_tokens": 64,
    "rows_per_step": 8,
    "optimizer": {"learning_rate": 1e-2, "warmup_steps": 1, "weight_decay": 0.1, "max_grad_norm": 1.0},
    "validation_tokens": 1000,
    "log_steps": 4,
    "checkpoint_steps": 3,
    "seed": 0,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare.run(PrepareConfig(corpus="sample", base=str(tiny_base), max_tokens=300, limit=200), folder=folder)
    return folder


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fakes import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


def recipe_of(**changes: Any) -> PretrainRecipe:
    return parse(SMALL | changes, PretrainRecipe, where="recipe")


class Killed(Exception):
    pass


def test_it_learns_and_gives_a_base(prepared: Path, tmp_path: Path) -> None:
    summary = pretrain.run(recipe_of(), prepared=prepared, folder=tmp_path)
    assert summary.validation_loss < 0.9 * torch.tensor(400.0).log().item()  # better than knowing nothing
    assert 6000 - 64 < summary.n_tokens < 6000 + 300  # whole rows of whole conversations
    base = resolve_base(str(tmp_path / BASE_FOLDER))
    assert chat_format(load_tokenizer(base)).end_token == "<|im_end|>"
    assert json.loads((tmp_path / pretrain.PRETRAINING).read_text())["n_parameters"] == summary.n_parameters
    assert not list(tmp_path.glob("**/*.pt"))


def test_killed_in_the_middle_it_ends_with_the_same_weights(prepared: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    pretrain.run(recipe_of(), prepared=prepared, folder=whole)

    def stop(state: Any) -> None:
        if state.done > 0.6 * state.total:
            raise Killed

    with pytest.raises(Killed):
        pretrain.run(recipe_of(), prepared=prepared, folder=torn, on_progress=stop)
    summary = pretrain.run(recipe_of(), prepared=prepared, folder=torn)
    assert summary.resumed_from is not None
    first, second = (load_file(folder / BASE_FOLDER / "model.safetensors") for folder in (whole, torn))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_another_model_and_the_same_tokenizer(prepared: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        pretrain.run(recipe_of(seed=seed, train_tokens=600), prepared=prepared, folder=tmp_path / str(seed))
    names = [load_file(tmp_path / str(s) / BASE_FOLDER / "model.safetensors") for s in (0, 1)]
    assert not torch.equal(names[0]["model.embed_tokens.weight"], names[1]["model.embed_tokens.weight"])
    texts = [(tmp_path / str(s) / BASE_FOLDER / "tokenizer.json").read_bytes() for s in (0, 1)]
    assert texts[0] == texts[1]


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of `heads`"):
        recipe_of(architecture=SMALL["architecture"] | {"heads": 3})


def test_a_split_without_answers_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Where is it, {i}?"}], "cluster": f"c{i}"} for i in range(12)]
    file = tmp_path / "asked.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    prepare.run(PrepareConfig(corpus=str(file), base=str(tiny_base)), folder=tmp_path / "prepared")
    with pytest.raises(InputError, match="somebody answers"):
        pretrain.run(recipe_of(), prepared=tmp_path / "prepared", folder=tmp_path / "out")


def test_the_sizes_that_ship_differ_in_their_architecture_and_learning_rate_alone() -> None:
    sizes = [load_yaml(path, PretrainRecipe) for path in sorted((EXPERIMENTS / "recipes" / "pretrain").glob("*.yaml"))]
    assert {size.name for size in sizes} == {"small", "medium", "large"}
    own: Any = {"name": True, "architecture": True, "optimizer": {"learning_rate"}}
    plain = [size.model_dump(exclude=own) for size in sizes]
    assert plain[0] == plain[1] == plain[2]
    assert len({size.architecture.vocabulary for size in sizes}) == 1
