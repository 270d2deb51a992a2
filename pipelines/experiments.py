"""Where the experiments that ship lie: beside the code in a checkout, under share/ in an installation."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.errors import UnavailableError


def experiments_folder() -> Path:
    """The folder with recipes, judges and experiments."""
    beside = Path(__file__).resolve().parent.parent / "experiments"
    shared = Path(sys.prefix) / "share" / "screentest" / "experiments"
    for folder in (beside, shared):
        if (folder / "recipes").is_dir():
            return folder
    raise UnavailableError(f"`experiments` must lie in {beside} or {shared}; install Screentest again")
