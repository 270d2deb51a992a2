"""A registry with adapters on a tiny base, and a server on it, made once a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny_adapter, tiny_checkpoint
from servers import Running, Serve, running
from stories import fresh_home

from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.registry import publish
from harness.serving.limits import ServingLimits
from harness.serving.model_names import Variants
from harness.settings import Settings
from harness.store.tracking import Tracking
from harness.types import BaseModel


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return resolve_base(str(tiny_checkpoint(tmp_path_factory.mktemp("served") / "base")))


@pytest.fixture(scope="session")
def registry(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """`film/1`, `film/2` (candidate), `dora/1`, and `stranger/1` on another base."""
    root: Path = tmp_path_factory.mktemp("registry")
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(fresh_home(root / "home"))}))
    other = resolve_base(str(tiny_checkpoint(root / "other", seed=9)))
    adapters = {
        "film": [tiny_adapter(root / "a", base, rank=8), tiny_adapter(root / "b", base, seed=1)],
        "dora": [tiny_adapter(root / "c", base, seed=2, use_dora=True)],
        "stranger": [tiny_adapter(root / "d", other, seed=3)],
    }
    for name, versions in adapters.items():
        for adapter in versions:
            publish(tracking, adapter, name=name, card="# card")
    return tracking


@pytest.fixture(scope="session")
def serve(base: BaseModel, registry: Tracking) -> Serve:
    """A fresh server of the registry, with what `running` takes."""

    def fresh(*, names: Sequence[str] = (), **options: Any) -> AbstractContextManager[Running]:
        return running(LocalModel.load(base), Variants(registry, base, names=names), **options)

    return fresh


@pytest.fixture(scope="session")
def server(serve: Serve) -> Iterator[Running]:
    """A server with everything on that a test may need; tests leave no open request behind."""
    with serve(limits=ServingLimits(max_batch=4, max_queue=64, max_adapters=2, max_tokens=200)) as found:
        yield found
