"""What both trainers leave out of transformers' and TRL's loops, and how they keep and find adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from harness.errors import UnavailableError
from harness.seeding import derive
from pipelines.training.adapter import load_adapter_weights, save_adapter
from pipelines.training.processes import Processes
from pipelines.training.sharding import gathered_state, scattered_state


class LeanTrainer:
    """Mixed in before a TRL trainer: nothing is computed, written or sent that nobody reads."""

    model: Any
    args: Any
    optimizer: Any
    lr_scheduler: Any
    processes: Processes
    is_fsdp_enabled: bool
    loss_is_scaled_for_ga = True  # `compute_loss` divides by what the whole optimiser step holds

    def keep_precision(self, trainable: dict[str, Any]) -> None:
        """Put float32 adapter weights back that TRL has rounded to bfloat16, and take its printing away."""
        for name, value in self.model.named_parameters():
            if value.requires_grad:
                value.data = trainable[name]
        self.remove_callback(PrinterCallback)

    def require_sharding(self) -> None:
        """Refuse to go on where FSDP was asked and accelerate has left it out: it shards on accelerators alone.

        Raises:
            UnavailableError: it has.
        """
        if (self.processes.sharding == "fsdp") != self.is_fsdp_enabled:
            raise UnavailableError(
                f"FSDP needs GPUs, got {self.args.device.type}, where accelerate would train without sharding and not "
                "say so: start with `--multi_gpu` in the place of `--use_fsdp`"
            )

    def seed_row(self, place: int) -> None:
        """Draw dropout and NEFTune's noise of a row by its place in the plan, whichever process has it and when."""
        torch.manual_seed(derive(self.args.seed, "row", place))  # both draw from the global state and no other

    def divisor(self, n_items: torch.Tensor, *, counts: bool) -> torch.Tensor:
        """What a row's summed loss is divided by, so that gradients and logged losses are means over the step's items.

        Both are averaged over the processes, each of which gives its own rows. A row that only keeps step weighs 0.
        """
        return n_items / self.processes.n if counts else torch.full_like(n_items, torch.inf, dtype=torch.float32)

    def rows(self, n: int) -> list[dict[str, Any]]:
        """The training rows in order, filled up to a multiple of the processes with rows that count for nothing."""
        filled = -(-n // self.processes.n) * self.processes.n
        return [{"pack": min(i, n - 1), "place": i, "counts": i < n} for i in range(filled)]

    def remove_callback(self, callback: Any) -> None:
        """The trainer's own."""
        super().remove_callback(callback)  # type: ignore[misc]

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: it walks every parameter at every step and nobody reads it."""
        return 0

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Not written: the registry writes the card of what is published."""

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The adapter, gathered where it is sharded; never the base."""
        save_adapter(self.model, Path(output_dir or self.args.output_dir), is_writer=self.processes.is_first)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_adapter_weights(self.model, Path(resume_from_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Whole tensors in the form that one process writes, so that any number of processes can go on from them."""
        state = gathered_state(self.optimizer)
        if self.processes.is_first:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        state = torch.load(folder / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(scattered_state(state, self.optimizer))
        self.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER_NAME, weights_only=True))


def trainable_weights(model: Any) -> dict[str, Any]:
    """The weights that move, by name, as they are before TRL has seen them."""
    return {name: value.data for name, value in model.named_parameters() if value.requires_grad}
