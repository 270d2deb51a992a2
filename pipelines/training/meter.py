"""How much has been trained, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Meter:
    """Seconds and tokens of a training over all its sessions; a checkpoint carries it. Validation does not count."""

    seconds: float = 0.0  # up to the last start or pause
    n_tokens: int = 0  # tokens of examples fed to the model
    n_positions: int = 0  # positions that the model computed: tokens and padding
    n_loss_tokens: int = 0  # tokens under loss
    noise: float = 0.0  # NEFTune's bound, summed over tokens
    _since: float | None = None

    @classmethod
    def restored(cls, record: Mapping[str, float]) -> Meter:
        """Where a checkpoint had come to; an empty record is the beginning."""
        return cls(
            seconds=float(record.get("seconds", 0.0)),
            n_tokens=int(record.get("n_tokens", 0)),
            n_positions=int(record.get("n_positions", 0)),
            n_loss_tokens=int(record.get("n_loss_tokens", 0)),
            noise=float(record.get("noise", 0.0)),
        )

    def record(self) -> dict[str, float]:
        """What `restored` takes."""
        return {
            "seconds": self.read(),
            "n_tokens": self.n_tokens,
            "n_positions": self.n_positions,
            "n_loss_tokens": self.n_loss_tokens,
            "noise": self.noise,
        }

    def count(self, totals: Sequence[float]) -> None:
        """Add rows: their positions, tokens, tokens under loss and noise."""
        n_positions, n_tokens, n_loss_tokens, noise = totals
        self.n_positions += int(n_positions)
        self.n_tokens += int(n_tokens)
        self.n_loss_tokens += int(n_loss_tokens)
        self.noise += noise

    def start(self) -> None:
        """Let the clock run."""
        self._since = time.perf_counter()

    def read(self) -> float:
        """Seconds of training until now."""
        return self.seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    def stop(self) -> None:
        """Let the clock stand."""
        self.seconds, self._since = self.read(), None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock stand inside the block."""
        was_running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if was_running:
                self.start()
