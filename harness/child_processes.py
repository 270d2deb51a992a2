"""Processes that this one starts: they run its own code, whatever lies in the current folder, and end when it does."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path

_ROOT = Path(__file__).absolute().parent.parent
_BEGIN = (
    "import sys; sys.path[:0] = {sys.argv[1]}.difference(sys.path); from harness.child_processes import begin; begin()"
)
_PR_SET_PDEATHSIG = 1

SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # for an environment: what a child starts finds no package in the current folder


def child_command(module: str, *arguments: str) -> list[str]:
    """The command line of a module of ours; plain `python -m` would look for it in the current folder first."""
    return [sys.executable, "-P", "-c", _BEGIN, str(_ROOT), module, *arguments]


def begin() -> None:
    """In the child: run the module that the command line names."""
    end_with_parent()
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it ends, however it does.

    Linux only: elsewhere, and for the moment before this call, a child of ours ends when its stdin does.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def root() -> str:
    """The folder that our packages lie in."""
    return os.fspath(_ROOT)
