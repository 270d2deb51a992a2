"""Processes that this one starts: they run its own code, whatever lies in the current folder, and end when it does."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
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


def free_port(wanted: int = 0) -> int:
    """A port of this machine that a server can take: the one that is wanted, where it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, server: subprocess.Popen[bytes], *, within: float) -> bool:
    """Whether a server answers at an address within so many seconds, and before it ends."""
    import urllib.request

    deadline = time.monotonic() + within
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # URLError is one
            return True
        time.sleep(0.2)
    return False


def root() -> str:
    """The folder that our packages lie in."""
    return os.fspath(_ROOT)
