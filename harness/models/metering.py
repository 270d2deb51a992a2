"""Progress with a rate: how many tokens a second, counted from the first call."""

from __future__ import annotations

import time

from harness.models.protocol import OnProgress
from harness.types import Progress


class Meter:
    """Counts units and tokens and tells whoever wants to know."""

    def __init__(self, total: float, unit: str, on_progress: OnProgress | None) -> None:
        """`total` and `unit` as in `Progress`; without a listener nothing is computed."""
        self._total = total
        self._unit = unit
        self._on_progress = on_progress
        self._started = time.perf_counter()
        self._done = 0.0
        self._n_tokens = 0

    def advance(self, done: float, n_tokens: int) -> None:
        """Report that `done` more units and `n_tokens` more tokens are complete."""
        self._done += done
        self._n_tokens += n_tokens
        if self._on_progress is not None:
            rate = self._n_tokens / max(time.perf_counter() - self._started, 1e-9)
            self._on_progress(
                Progress(done=self._done, total=self._total, unit=self._unit, note=f"{rate:,.0f} tokens/s")
            )
