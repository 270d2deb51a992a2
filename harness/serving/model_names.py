"""Names that clients use: `base`, `name@alias`, `name/version`, the same as everywhere in Screentest."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError, ScreentestError
from harness.registry import AdapterRecord, is_registry_name, records, resolve
from harness.serving.error_answers import bad_request, of_screentest, unknown_model
from harness.store.tracking import Tracking
from harness.types import Adapter, BaseModel, Contract

BASE = "base"
_FRESH = 10.0  # seconds for which a name keeps what it was found to mean: an alias may be moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A name that may be asked."""

    name: str
    created: int  # seconds since 1970
    digest: str  # of the adapter, or of the bare base
    contract: Contract | None = None  # of an adapter, where it is on record


class Variants:
    """The variants of one base: all that the registry has for it, or those that were named."""

    def __init__(self, tracking: Tracking, base: BaseModel, *, names: Sequence[str] = ()) -> None:
        """Check every name now, so that a server with a wrong one does not start.

        Raises:
            InputError: a name is no variant, or belongs to another base.
            IntegrityError: an adapter's files were altered.
        """
        self._tracking = tracking
        self.base = base
        self._names = tuple(dict.fromkeys(names))
        self._found: dict[str, tuple[float, Adapter]] = {}  # until when a name means what
        self._records: tuple[float, int, Sequence[AdapterRecord]] = (0.0, 0, ())
        self._lock = threading.Lock()
        self._started = int(time.time())
        for name in self._names:
            if name != BASE and (mismatch := self._mismatch(name, self._find(name))):
                raise InputError(mismatch)

    def resolve(self, name: str) -> Adapter | None:
        """The adapter behind a name; None is the bare base. Reads the registry, so not for an event loop.

        Raises:
            ApiError: 404 no such variant, 400 another base's, 503 altered files.
        """
        if self._names and name not in self._names:
            raise unknown_model(f"`{name}` must be one of the served variants: {', '.join(self._names)}")
        if name == BASE:
            return None
        if not is_registry_name(name):
            raise unknown_model("`model` must be `base`, `name@alias` or `name/version`; GET /v1/models lists them")
        try:
            adapter = self._find(name)
        except InputError as err:
            raise unknown_model(str(err)) from err
        except ScreentestError as err:
            raise of_screentest(err) from err
        if mismatch := self._mismatch(name, adapter):
            raise bad_request(mismatch, code="base_mismatch", param="model")
        return adapter

    def list(self) -> list[Served]:
        """Every name that may be asked, remembered as long as what a name means and until another is published."""
        with self._lock:
            expires, published, found = self._records
            newest = self._last_published()
            if expires <= time.monotonic() or published != newest:
                found = records(self._tracking)
                self._records = (time.monotonic() + _FRESH, newest, found)
        served = [Served(name=BASE, created=self._started, digest=self.base.digest)]
        for record in found:
            if self._fits(record):
                names = [f"{record.name}@{alias}" for alias in record.aliases] + [f"{record.name}/{record.version}"]
                known: Any = {"created": record.created // 1000, "digest": record.digest, "contract": record.contract}
                served += [Served(name=name, **known) for name in names]
        return [one for one in served if one.name in self._names] if self._names else served

    def adapters(self) -> dict[str, Adapter]:
        """Every served name with its adapter, the base left out; digests checked.

        Raises:
            InputError: an adapter was made for a base of this name with other weights.
        """
        found = {served.name: self._find(served.name) for served in self.list() if served.name != BASE}
        for name, adapter in found.items():
            if mismatch := self._mismatch(name, adapter):
                raise InputError(mismatch)
        return found

    def _last_published(self) -> int:
        """When the registry last got a version, in milliseconds: one row, where a list of all takes seconds."""
        order = ["last_updated_timestamp DESC"]
        newest = self._tracking.client.search_registered_models(max_results=1, order_by=order)
        return int(newest[0].last_updated_timestamp) if newest else 0

    def _fits(self, record: AdapterRecord) -> bool:
        return (record.base, record.base_revision) == (self.base.source, self.base.revision)

    def _find(self, name: str) -> Adapter:
        with self._lock:
            known = self._found.get(name)
            if known is None or known[0] <= time.monotonic():
                adapter = resolve(self._tracking, name)
                known = self._found[name] = (time.monotonic() + _FRESH, adapter)
            return known[1]

    def _mismatch(self, name: str, adapter: Adapter) -> str | None:
        """What is wrong when an adapter belongs to another base."""
        if adapter.base.digest == self.base.digest:
            return None
        return (
            f"`{name}` must run on its own base `{adapter.base.source}` ({adapter.base.digest[:12]}), this server has "
            f"`{self.base.source}` ({self.base.digest[:12]}); ask a server with that base"
        )
