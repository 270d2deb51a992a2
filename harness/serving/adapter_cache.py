"""Adapters in memory: loaded on first use with their digest checked, the least recently used dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from harness.errors import InputError
from harness.models.local import LocalModel
from harness.models.protocol import adapter_name
from harness.types import Adapter


class LoadedAdapters:
    """Which adapters a model holds; used by the engine's thread alone."""

    def __init__(self, model: LocalModel, *, capacity: int) -> None:
        """`capacity` is the number of adapters that may be in memory at once."""
        if capacity < 1:
            raise InputError(f"`capacity` must be at least 1 adapter, got {capacity}")
        self._model = model
        self._capacity = capacity
        self._used: OrderedDict[str, None] = OrderedDict()  # least recently used first

    @property
    def names(self) -> list[str]:
        """Adapters in memory, most recently used last."""
        return list(self._used)

    def touch(self, adapter: Adapter | None) -> bool:
        """Mark an adapter as used; says whether it is in memory (the bare base always is)."""
        if adapter is None:
            return True
        name = adapter_name(adapter)
        if name not in self._used:
            return False
        self._used.move_to_end(name)
        return True

    def load(self, adapter: Adapter, *, in_use: Collection[str | None]) -> bool:
        """Bring an adapter into memory, not while the model is borrowed; False when all others are in use.

        Raises:
            IntegrityError: its files do not have the digest on record.
            InputError: it does not fit the base.
        """
        while len(self._used) >= self._capacity:
            oldest = next((name for name in self._used if name not in in_use), None)
            if oldest is None:
                return False
            del self._used[oldest]
            self._model.bank.remove(oldest)
        self._used[self._model.add_adapter(adapter)] = None
        return True
