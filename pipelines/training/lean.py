"""What both trainers leave out of transformers' and TRL's loops, and how they keep and find adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from pipelines.training.adapter import load_adapter_weights, save_adapter


class LeanTrainer:
    """Mixed in before a TRL trainer: nothing is computed, written or sent that nobody reads."""

    model: Any
    args: Any
    loss_is_scaled_for_ga = True  # `compute_loss` divides by what the whole optimiser step holds

    def keep_precision(self, trainable: dict[str, Any]) -> None:
        """Put float32 adapter weights back that TRL has rounded to bfloat16, and take its printing away."""
        for name, value in self.model.named_parameters():
            if value.requires_grad:
                value.data = trainable[name]
        self.remove_callback(PrinterCallback)

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

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        save_adapter(self.model, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_adapter_weights(self.model, Path(resume_from_checkpoint))


def trainable_weights(model: Any) -> dict[str, Any]:
    """The weights that move, by name, as they are before TRL has seen them."""
    return {name: value.data for name, value in model.named_parameters() if value.requires_grad}
