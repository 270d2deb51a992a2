"""Memory between stages: what the process has held at most, and giving back what a finished stage no longer needs."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

from harness.store.tracking import StageResult, Tracking

PEAK_METRIC = "peak_memory_bytes"  # on every stage's run: the largest resident set of its process so far


def peak_bytes() -> int:
    """Largest resident set of this process so far, bytes.

    Linux counts a process's own from its start in /proc; `getrusage` would hold that of the process which started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # Bytes, since the kernel cuts a process's name after 15 of them, within a character where it falls there.
        for line in status.read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_of_stages(tracking: Tracking, stages: Iterable[StageResult]) -> int:
    """Largest resident set of any one process, bytes: this one, or one that ran a stage, wherever it ran."""
    known = (tracking.run(stage.source_run_id).metrics.get(PEAK_METRIC) for stage in stages)
    return max([peak_bytes(), *(int(peak) for peak in known if peak is not None)])


def release() -> None:
    """Free what nobody refers to and hand it back to the system.

    A trainer and its model refer to each other, so they wait for the collector; glibc keeps freed memory for itself
    until it is told to trim, and the next stage's needs would come on top of it.
    """
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
