"""What happens beside the steps: progress, curves, best weights, early stopping, marks on checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.errors import StageError
from harness.types import Progress
from pipelines.training.adapter_files import load_adapter_weights, save_adapter
from pipelines.training.checkpoints import mark_complete
from pipelines.training.history import METRICS, best_step, validations
from pipelines.training.meter import Meter
from pipelines.training.processes import Processes

OnProgress = Callable[[Progress], None]
OnMetric = Callable[[str, float, int], None]


class Reporter(TrainerCallback):
    """Tells the caller how far the training is and what it measured; stops it when the loss is no number."""

    def __init__(self, *, meter: Meter, total: int, on_progress: OnProgress | None, on_metric: OnMetric | None) -> None:
        self.meter, self.total = meter, total
        self.on_progress, self.on_metric = on_progress, on_metric
        self.latest = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.meter.start()
        self._progress(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self.meter.stop()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a pack that is not the last of its step."""
        self._progress(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the optimiser moved; the last step is always validated."""
        self._progress(state)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Pass curves on."""
        for key, name in METRICS.items():
            value = (logs or {}).get(key)
            if value is None:
                continue
            if key in ("loss", "eval_loss") and not math.isfinite(value):
                raise StageError(
                    f"`{name}` must stay a number, got {value} at step {state.global_step}: lower "
                    f"`optimizer.learning_rate` or raise `optimizer.warmup_steps`"
                )
            if key == "eval_loss":
                self.latest = f"validation loss {value:.3f}"
            if self.on_metric is not None:
                self.on_metric(name, float(value), state.global_step)

    def _progress(self, state: Any) -> None:
        if self.on_progress is not None:
            # A trainer that counts no tokens is as far as its steps, which are equally long.
            done = self.meter.n_tokens or self.total * state.global_step // max(1, state.max_steps)
            self.on_progress(Progress(done=done, total=self.total, unit="tokens", note=self.latest))


class BestAdapter(TrainerCallback):
    """Keeps the weights of the best validation, stops when patience ends, and puts the best back at the end.

    Which step is best is read from the log history, which a checkpoint carries, so that a resumed run decides as an
    undisturbed one. Weights of superseded bests go when a checkpoint stands that no longer needs them.
    """

    def __init__(self, folder: Path, *, patience: int | None, processes: Processes) -> None:
        self.folder, self.patience, self.processes = folder, patience, processes

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Keep a new best; count how many validations passed without one."""
        best = best_step(state.log_history)
        if best == state.global_step:
            save_adapter(model, self._folder(best), is_writer=self.processes.is_first)
        n_without = sum(step > best for step in validations(state.log_history))
        if self.patience is not None and n_without >= self.patience:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop what no resume from here can need."""
        if not self.processes.is_first:
            return
        keep = self._folder(best_step(state.log_history))
        for other in self.folder.glob("best-*"):
            if other != keep:
                shutil.rmtree(other)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Put the best weights back."""
        self.processes.wait()  # for the one that wrote them
        best = best_step(state.log_history)
        if best != state.global_step:
            load_adapter_weights(model, self._folder(best))

    def _folder(self, step: int) -> Path:
        return self.folder / f"best-{step}"


class CheckpointMark(TrainerCallback):
    """Marks a checkpoint as complete; must stand last among the callbacks."""

    def __init__(self, folder: Path, *, meter: Meter, processes: Processes) -> None:
        self.folder, self.meter, self.processes = folder, meter, processes

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Everything of it is on disk by now, the other processes' random states too."""
        self.processes.wait()
        if self.processes.is_first:
            mark_complete(self.folder / f"checkpoint-{state.global_step}", self.meter.record())


def training_callbacks(
    folder: Path,
    meter: Meter,
    *,
    processes: Processes,
    n_tokens: int,
    keeps_best: bool = True,
    patience: int | None = None,
    on_progress: OnProgress | None,
    on_metric: OnMetric | None,
) -> list[Any]:
    """The callbacks of a training of `n_tokens` with checkpoints in `folder`, in the order in which they must stand."""
    return [
        Reporter(meter=meter, total=n_tokens, on_progress=on_progress, on_metric=on_metric),
        *([BestAdapter(folder, patience=patience, processes=processes)] if keeps_best else []),
        CheckpointMark(folder, meter=meter, processes=processes),
    ]
