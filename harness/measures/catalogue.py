"""The measures that need no judge: every module of this folder declares its own, and installed packages offer more."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from harness.doors import functions
from harness.measures.measure import Measure

GROUP = "screentest.measures"  # entry points


def _shipped() -> dict[str, Measure]:
    import harness.measures as folder

    names = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    modules = [importlib.import_module(f"{folder.__name__}.{name}") for name in names if name != "catalogue"]
    return {m.name: m for module in modules for m in getattr(module, "MEASURES", ())}


_OFFERED: dict[str, str] = {}  # looking through what is installed takes milliseconds
CATALOGUE: Mapping[str, Measure] = MappingProxyType(_shipped())


def find_measure(name: str, address: str | None = None) -> Measure | None:
    """A measure by `module:name`, else by its name here or in an installed package; None where nothing has it.

    Raises InputError: the address leads to no measure.
    """
    if address is None and name in CATALOGUE:
        return CATALOGUE[name]
    offered = address or _OFFERED.get(name) or functions.entry_point(GROUP, name)
    if offered is None:
        return None
    if address is None:
        _OFFERED[name] = offered
    found: Measure = functions.load(offered, Measure)
    return found
