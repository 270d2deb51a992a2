"""Where the files that ship lie: beside the code in a checkout, under share/ in an installation of any scheme."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.errors import UnavailableError


def experiments_folder() -> Path:
    """The folder with recipes, judges and experiments."""
    return shipped("experiments/recipes").parent


def shipped(name: str) -> Path:
    """A file or folder that ships. Raises UnavailableError: it is not there."""
    code = Path(__file__).resolve().parents[2]
    # Of `site-packages` and the three folders above one is the root of a venv, a user's, a --prefix or a --target.
    roots = [*[code, *code.parents][:4], Path(sys.prefix)]
    places = [code / name, *(root / "share" / "screentest" / name for root in roots)]
    for place in places:
        if place.exists():
            return place
    raise UnavailableError(f"`{name}` must lie in {code} or {places[-1].parent}; install Screentest again")
