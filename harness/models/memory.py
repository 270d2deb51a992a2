"""Memory: what the process has held at most, giving back what is not needed, and one sentence where it ran out."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from harness.errors import StageError, UnavailableError
from harness.models.devices import device_name, gpu_trouble, is_device_trouble
from harness.store.tracking import StageResult, Tracking

_COUNTS = {  # settings that hold memory, where there is more than one of them
    "data.pack_tokens": "tokens of a row",
    "data.pairs_per_pack": "pairs of a row",
    "data.max_tokens": "tokens of a pair",
    "rows_per_step": "rows at once",
    "decoding.max_new_tokens": "tokens of a reply",
}
_LITTLE = 32 << 20
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


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Give back what the work inside has left behind; what grew by little is not looked through, which takes 0.2 s."""
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    if process.memory_info().rss - before > _LITTLE:
        release()


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


@functools.cache
def settle() -> None:
    """Once a process, before its first model: leave what imports have made out of every later collection.

    accelerate collects at both ends of every training, 0.3 s each with the libraries of a training in memory.
    """
    gc.freeze()


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out: on the CPU it is told by its text alone."""
    import torch

    text = str(err).lower()
    return isinstance(err, torch.OutOfMemoryError | MemoryError) or "out of memory" in text or "can't allocate" in text


@contextlib.contextmanager
def told_in_a_sentence(what: str, *, settings: Mapping[str, Any], folder: Path | None = None) -> Iterator[None]:
    """Where trainings and generation run: a device that gives out is one error of ours, and says what stands.

    Args:
        settings: its own, nested as in its file.
        folder: where it keeps what the next attempt goes on from.

    Raises:
        StageError: memory ran out. UnavailableError: the driver or the card does not fit this torch.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as err:
        if is_out_of_memory(err):
            raise StageError(
                f"`{what}` must fit the memory of {device_name()}, it ran out: {what_helps(settings)}{_kept(folder)}"
            ) from err
        if is_device_trouble(err):
            first = str(err).strip().splitlines()[0]
            raise UnavailableError(f"`{what}` needs a GPU that this torch can use: {gpu_trouble() or first}") from err
        raise


def what_helps(settings: Mapping[str, Any]) -> str:
    """The settings of a stage that hold memory, those that cost nothing in quality first."""
    helps = []
    if settings.get("gradient_checkpointing") is False:
        helps.append("set `gradient_checkpointing: true`")
    if settings.get("quantization") == "none":
        helps.append("set `quantization: nf4`")
    for name, unit in _COUNTS.items():
        value: Any = settings
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int) and value > 1:
            helps.append(f"lower `{name}` ({value:,} {unit})")
    return ", or ".join([*helps, "end what else holds memory there, or take a smaller base"])


def _kept(folder: Path | None) -> str:
    """What an attempt has left; a training whose settings are changed is another one."""
    if folder is None:
        return ""
    steps = [int(mark.parent.name.removeprefix("checkpoint-")) for mark in folder.glob("checkpoints/*/complete.json")]
    if steps:
        kept = f"the checkpoint of step {max(steps):,} is kept"
        return f"; {kept}: unchanged settings go on from it, changed ones begin anew"
    return "; what is done so far is kept, and the same command goes on from there"
