"""The software that made a result: package versions, the commit of the code, and who ran it."""

from __future__ import annotations

import contextlib
import functools
import getpass
import subprocess
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    import platform
    from importlib import metadata

    names = ("screentest", "torch", "transformers", "peft", "trl", "bitsandbytes", "mlflow", "numpy", "scipy")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@functools.cache
def maker() -> dict[str, str]:
    """Who made a run and with what, as MLflow's pages show it."""
    tags = {"mlflow.source.name": "screentest", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(OSError, KeyError, ImportError):  # no such user: a container's bare number
        tags["mlflow.user"] = getpass.getuser()
    return tags


@functools.cache
def git_commit() -> str | None:
    """The commit of the working tree this code runs from, with `+dirty` when it differs; None outside git."""
    try:
        return _git("rev-parse", "HEAD") + ("+dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    here = Path(__file__).resolve().parent
    said = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10)
    return said.stdout.strip()
