"""Trainer of an adapter: what every method leaves out of transformers' and TRL's loops, counts and keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from harness.errors import UnavailableError
from harness.seeding import derive
from pipelines.training.adapter_files import load_adapter_weights, save_adapter
from pipelines.training.meter import Meter
from pipelines.training.processes import Processes
from pipelines.training.sharding import gathered_state, scattered_state


class AdapterTrainer:
    """Mixed in before a TRL trainer: nothing is computed, written or sent that nobody reads."""

    # What the method's own trainer adds, beside its loss.
    collate: Callable[
        [Sequence[int]], dict[str, Any]
    ]  # tensors of packs as one row: under `model` what the model is given; `targets`, …
    n_items: Callable[[dict[str, Any]], int]  # what the loss is a mean over
    measured: Callable[[], dict[str, float]]  # figures on held-out rows, exact means

    model: Any
    args: Any
    state: Any
    control: Any
    optimizer: Any
    lr_scheduler: Any
    callback_handler: Any
    log: Any
    is_fsdp_enabled: bool
    compute_loss_context_manager: Any
    _prepare_inputs: Any
    loss_is_scaled_for_ga = True  # `compute_loss` divides by what the whole optimiser step holds

    def __init__(
        self,
        model: Any,
        *,
        args: Any,
        tokenizer: Any,
        n_packs: int,
        meter: Meter,
        processes: Processes,
        callbacks: Sequence[Any],
    ) -> None:
        self.meter, self.processes = meter, processes
        self.packs_per_pass: int = args.per_device_train_batch_size
        # TRL rounds the adapter of a 4-bit base to bfloat16.
        trainable = {name: value.data for name, value in model.named_parameters() if value.requires_grad}
        trainer: Any = super()
        trainer.__init__(
            model,
            args=args,
            data_collator=self._collate,
            train_dataset=Dataset.from_list(self._rows(n_packs)),
            eval_dataset=Dataset.from_dict({"pack": [0]}),  # unread: `evaluate` goes over the held-out rows itself
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        for name, value in self.model.named_parameters():
            if value.requires_grad:
                value.data = trainable[name]
        trainer.remove_callback(PrinterCallback)
        self._require_sharding()

    def noise(self, inputs: dict[str, Any]) -> float:
        """NEFTune's bound, summed over the tokens of the row."""
        return 0.0

    def _collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The packs of one pass as one row; those that only keep step go through alone."""
        first = rows[0]
        packs = [row["pack"] for row in rows if row["counts"]] or [first["pack"]]
        return {**self.collate(packs), "place": first["place"], "counts": first["counts"]}

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        own = sum(self.n_items(inputs) for inputs in batch_samples if inputs["counts"])
        return self.processes.total(torch.tensor(own)).to(device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One row forward and backward, and what it adds to the tally."""
        counts = inputs["counts"]
        own = [inputs["model"]["input_ids"].numel(), inputs["n_tokens"], len(inputs["targets"]), self.noise(inputs)]
        # Dropout and NEFTune's noise follow a row's place in the plan, whichever process has it and when; both draw
        # from the global state and no other.
        torch.manual_seed(derive(self.args.seed, "row", inputs["place"]))
        trainer: Any = super()
        loss: torch.Tensor = trainer.training_step(model, inputs, self._divisor(num_items_in_batch, counts=counts))
        self.meter.count(self.processes.total(torch.tensor(own, dtype=torch.float64) * counts).tolist())
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Held-out figures in the log; exact, where the default averages batches of different length."""
        with self.meter.paused():
            metrics = self.measured()
            self.model.eval()  # by its mode TRL tells which log is written
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _require_sharding(self) -> None:
        """Refuse to go on where FSDP was asked and accelerate has left it out: it shards on accelerators alone."""
        if (self.processes.sharding == "fsdp") != self.is_fsdp_enabled:
            raise UnavailableError(
                f"FSDP needs GPUs, got {self.args.device.type}, where accelerate would train without sharding and not "
                "say so: start with `--multi_gpu` in the place of `--use_fsdp`"
            )

    def _divisor(self, n_items: torch.Tensor, *, counts: bool) -> torch.Tensor:
        """What a row's summed loss is divided by, so that gradients and logged losses are means over the step's items.

        Both are averaged over the processes, each of which gives its own rows. A row that only keeps step weighs 0.
        """
        return n_items / self.processes.n if counts else torch.full_like(n_items, torch.inf, dtype=torch.float32)

    def _rows(self, n: int) -> list[dict[str, Any]]:
        """The training rows in order, filled up with rows that count for nothing so that all processes have as many."""
        at_once = self.processes.n * self.packs_per_pass
        filled = -(-n // at_once) * at_once if self.processes.n > 1 else n
        return [{"pack": min(i, n - 1), "place": i, "counts": i < n} for i in range(filled)]

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
