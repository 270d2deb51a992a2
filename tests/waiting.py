"""Waiting for states, not for clocks: a busy machine is slow, and only pytest's own limit ends a wait."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def wait_until(
    holds: Callable[[], T], *, process: subprocess.Popen[Any] | None = None, log: Path | None = None, poll: float = 0.05
) -> T:
    """What `holds` gives as soon as it is true; fails at once where the process that should see to it has ended."""
    while not (found := holds()):
        if process is not None and process.poll() is not None:
            pytest.fail(f"the process ended with {process.returncode}: {log.read_text() if log else 'no log'}")
        time.sleep(poll)
    return found
