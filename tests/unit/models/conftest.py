"""Tiny checkpoints, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import tiny_adapter, tiny_checkpoint

from harness.models.bases import resolve_base
from harness.models.cache import AnswerCache
from harness.models.local import LocalModel
from harness.store.database import open_database
from harness.types import Adapter, BaseModel


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return resolve_base(str(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "base")))


@pytest.fixture(scope="session")
def tiny_adapters(tiny_base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapter, ...]:
    """Ranks 4 and 8, and a DoRA one that refuses to be mixed."""
    root: Path = tmp_path_factory.mktemp("adapters")
    return (
        tiny_adapter(root / "four", tiny_base, name="four"),
        tiny_adapter(root / "eight", tiny_base, name="eight", rank=8, seed=1),
        tiny_adapter(root / "dora", tiny_base, name="dora", seed=2, use_dora=True),
    )


@pytest.fixture(scope="session")
def tiny_local(tiny_base: BaseModel, tiny_adapters: tuple[Adapter, ...]) -> LocalModel:
    """A tiny Llama with its three adapters; tests must leave it as it is."""
    model = LocalModel.load(tiny_base)
    for adapter in tiny_adapters:
        model.add_adapter(adapter)
    return model


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    """An empty cache of what endpoints answered."""
    return AnswerCache(open_database(f"sqlite:///{tmp_path / 'calls.db'}"), "endpoint")
