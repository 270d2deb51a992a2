"""One measurement: what was found, how fast and in how much memory; what did not fit or is not there says so."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.shapes import Shape

from harness.types import Progress

GIB = 1024**3
CAP = int(7.5 * GIB)  # what a card of 8 GB leaves to torch beside CUDA's own
# What a library or a device may raise in a case; the others go on.
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Figures of one case; one without figures says why."""

    part: str
    shape: str
    case: str
    figures: dict[str, Any] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One part on one shape: where it runs and where its results go."""

    part: str
    shape: Shape
    is_tiny: bool
    folder: Path  # scratch that all parts share: weights, windows, adapters
    results: Path  # JSON lines

    @property
    def device(self) -> str:
        """`cuda` or `cpu`."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def tell(self, case: str, *, missing: str = "", **figures: Any) -> None:
        """Write a result down at once."""
        tell(self.results, Found(part=self.part, shape=self.shape.name, case=case, figures=figures, missing=missing))

    @contextlib.contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside is the result of this case, and the next one goes on."""
        from harness.errors import ScreentestError

        try:
            yield
        except ImportError as err:
            self.tell(name, missing=f"{err.name or err} is not installed")
        except (ScreentestError, *_FAILURES) as err:
            self.tell(name, missing=why(err))

    @contextlib.contextmanager
    def case(self, name: str, *, is_capped: bool = False) -> Iterator[dict[str, Any]]:
        """Figures to fill; they are told with the peak of memory when the case ends."""
        release(self.device)
        cap(self.device, is_on=is_capped)
        figures: dict[str, Any] = {}
        with self.guarded(name):
            yield figures
            self.tell(name, **(figures | peak(self.device)))
        cap(self.device, is_on=False)
        release(self.device)


def why(err: BaseException) -> str:
    """An error in a line."""
    text = " ".join(str(err).split())[:200]
    return "out of memory" if "out of memory" in text.lower() else f"{type(err).__name__}: {text}"


def tell(results: Path, found: Found) -> None:
    """Append a result to the file, and show it."""
    line = json.dumps(asdict(found), default=str)
    with results.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def read_results(results: Path) -> list[Found]:
    """Every result so far; a line that a kill has cut is left out."""
    found = []
    for line in results.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(Found(**json.loads(line)))
    return found


class Clock:
    """When optimiser steps ended, the device's queue run dry at each."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.moments: list[float] = []

    def tick(self) -> None:
        """Now."""
        sync(self._device)
        self.moments.append(time.perf_counter())

    def rates(self, tokens: Sequence[int]) -> dict[str, Any]:
        """Useful tokens a second: of the steps after the first, and of all there was, warm-up included.

        `tokens` are those of each step; the first moment is the beginning.
        """
        steps = list(zip(tokens, self.moments[1:], self.moments[:-1], strict=False))
        warm = [(n, end - begin) for n, end, begin in steps[1:]]
        if not warm:
            raise ValueError(f"two steps or more must end to be timed, got {len(steps)}")
        each = [n / seconds for n, seconds in warm]
        return {
            "tokens_per_s": round(sum(n for n, _ in warm) / sum(seconds for _, seconds in warm), 1),
            "slowest": round(min(each), 1),
            "fastest": round(max(each), 1),
            "n_steps": len(warm),
            "whole_tokens_per_s": round(sum(n for n, *_ in steps) / (steps[-1][1] - self.moments[0]), 1),
        }


class StepClock(Clock):
    """A clock that the product's `on_progress` drives: it is told of tokens, at the beginning and after each pass."""

    def __init__(self, device: str, *, tokens: Sequence[int]) -> None:
        super().__init__(device)
        self._ends = [0, *itertools.accumulate(tokens)]

    def __call__(self, progress: Progress) -> None:
        if len(self.moments) < len(self._ends) and progress.done >= self._ends[len(self.moments)]:
            self.tick()


def step_callback(clock: Clock) -> Any:
    """The same clock for a trainer of transformers or TRL."""
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.tick()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    return Ticks()


def sync(device: str) -> None:
    """Wait for what the device still computes."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def release(device: str) -> None:
    """Give back what nobody holds any more, and begin a new peak."""
    import gc

    if device == "cuda":
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def cap(device: str, *, is_on: bool) -> None:
    """Have torch refuse what a card of 8 GB would refuse."""
    if device == "cuda":
        import torch

        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, CAP / total) if is_on else 1.0)


def peak(device: str) -> dict[str, float]:
    """GiB of the device that torch reserved at most; nothing on a CPU."""
    if device != "cuda":
        return {}
    import torch

    return {"peak_gib": round(torch.cuda.max_memory_reserved() / GIB, 3)}
