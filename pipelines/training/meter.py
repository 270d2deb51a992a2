"""How much has been trained, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field


@dataclass(slots=True, kw_only=True)
class Meter:
    """Seconds and tokens of a training over all its sessions; a checkpoint carries it. Validation does not count."""

    seconds: float = 0.0  # up to the last start or pause
    n_tokens: int = 0  # tokens of examples fed to the model
    n_positions: int = 0  # positions that the model computed: tokens and padding
    n_loss_tokens: int = 0  # tokens under loss
    noise: float = 0.0  # NEFTune's bound, summed over tokens
    _since: float | None = field(default=None, init=False)

    def record(self) -> dict[str, float]:
        """What a checkpoint keeps: the arguments of the meter that goes on."""
        return {name: value for name, value in asdict(self).items() if name != "_since"} | {"seconds": self.read()}

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
