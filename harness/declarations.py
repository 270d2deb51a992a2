"""Parts that declare themselves: one module of a package each, so that adding one touches no list."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def declared(package: str, name: str) -> list[Any]:
    """What every module of the package has under this name, by the modules' names."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [getattr(importlib.import_module(f"{package}.{module.name}"), name) for module in modules]
