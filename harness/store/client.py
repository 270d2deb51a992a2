"""MLflow's client behind the door: the same methods, and every error of the store is one sentence."""

from __future__ import annotations

import functools
from typing import Any

from harness.store.sentences import telling


class StoreClient:
    """`MlflowClient` of one store; see `harness.store.sentences.telling` for what its methods raise."""

    def __init__(self, client: Any, *, store: str) -> None:
        self._client = client
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def told(*arguments: Any, **named: Any) -> Any:
            with telling(self._store, passes_answers=True):
                return found(*arguments, **named)

        return told
