"""One measurement: some steps to warm up, some that count, the peak of memory over all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

NO_MEMORY = "out of memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Speed and memory of one case; a case that did not fit, or was left out, says why and has no figures."""

    model: str
    case: str
    unit: str  # of what `rates` counts a second
    rates: tuple[float, ...] = ()  # one per counted step
    peak: int | None = None  # bytes reserved on the device at most; None on a CPU
    missing: str = ""  # why there are no figures

    @property
    def rate(self) -> float | None:
        """Median of the counted steps."""
        return statistics.median(self.rates) if self.rates else None


def measure(
    model: str, case: str, *, unit: str, step: Callable[[], int], device: str, n_warm: int = 2, n_steps: int = 5
) -> Measured:
    """Time `step`, which gives how many units it did; running out of memory is a result, not a failure."""
    import torch

    release(device)  # what loading needed for a moment is not what the case needs
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rates = []
    try:
        for index in range(n_warm + n_steps):
            began = time.perf_counter()
            n_units = step()
            if device == "cuda":
                torch.cuda.synchronize()
            if index >= n_warm:
                rates.append(n_units / (time.perf_counter() - began))
    except torch.OutOfMemoryError:
        return Measured(model=model, case=case, unit=unit, missing=NO_MEMORY)
    peak = torch.cuda.max_memory_reserved() if device == "cuda" else None
    return Measured(model=model, case=case, unit=unit, rates=tuple(rates), peak=peak)


def release(device: str) -> None:
    """Give back what nobody holds any more."""
    import gc

    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
