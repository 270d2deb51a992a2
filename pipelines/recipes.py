"""A recipe into a registered adapter, by whichever training method has its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.config import parse, read_yaml
from harness.errors import InputError
from harness.experiment.published import published_adapter
from harness.experiment.session import Session
from harness.types import Adapter
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.preferences.stages import named_pairs, parent_of, prepared_for
from pipelines.quickstart import quick_pairs
from pipelines.training.methods import METHODS
from pipelines.training.stages import training_stage

SPLIT_SEED = 7


def train_recipe(
    session: Session,
    file: Path,
    *,
    corpus: str,
    parent: str | None = None,
    pairs: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
) -> Adapter:
    """Train by a recipe's file and register the adapter as `<recipe>@candidate`.

    Raises InputError: the recipe breaks a rule, or parent or pairs are given to one that has no place for them.
    """
    data = read_yaml(file) | ({} if seed is None else {"seed": seed})
    name = method_of(data)
    recipe: Any = parse(data, METHODS[name].runner.RECIPE, where=str(file))
    if METHODS[name].reads == "pairs":
        start = parent_of(session, recipe, named=parent)
        prepared = prepared_for(session, start, corpus=corpus, seed=SPLIT_SEED, limit=limit)
        rows = named_pairs(session, pairs, prepared=prepared, parent=start, default=quick_pairs(recipe))
        stage = training_stage(session, name, recipe, prepared=prepared, parent=start, pairs=rows, adopt=True)
        return published_adapter(session, stage)
    if parent is not None or pairs is not None:
        raise InputError(
            f"`parent` and `pairs` go with a method that reads pairs, got them with `{file}`, a {name} recipe"
        )
    config = PrepareConfig(
        corpus=corpus,
        base=recipe.base.source,
        base_revision=recipe.base.revision,
        max_tokens=recipe.data.pack_tokens,
        seed=SPLIT_SEED,
        limit=limit,
    )
    prepared = prepare_stage(session, config)
    return published_adapter(session, training_stage(session, name, recipe, prepared=prepared, adopt=True))


def method_of(data: dict[str, Any]) -> str:
    """The method whose recipe has these keys; the first one, whose rules then say what is wrong, where none has."""
    methods = [name for name, method in METHODS.items() if not method.is_control]
    return next(
        (name for name in methods if data.keys() <= METHODS[name].runner.RECIPE.model_fields.keys()), methods[0]
    )
