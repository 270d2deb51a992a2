"""The reference of a preference training: asked once, and proved to be the SFT adapter that the policy starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from harness.errors import ConfigError, IntegrityError
from harness.types import Adapter
from pipelines.training.adapter_files import WEIGHTS
from pipelines.training.modeling import LAYOUT_TOLERANCE
from pipelines.training.preference_trainer import POLICY, REFERENCE, PreferenceTrainer
from pipelines.training.sharding import whole
from pipelines.training.summary import ReferenceIdentity

ANSWERS = "reference.safetensors"  # beside the checkpoints, so that a resumed run asks no second time
N_CHECKED = 8  # pairs whose log-ratios must be 0 before the first step
TOLERANCE = {"fp32": 1e-3, "bf16": 0.5}  # nats a reply; two passes of the same weights differ by rounding at most


class ReferenceFirst(TrainerCallback):
    """Gives the trainer the reference's log-probabilities of every pair, computed once; checks that it is the parent.

    Four things must hold before the first step: the frozen adapter's weights are those of the parent's file; policy
    and reference give the same log-probabilities, so that the log-ratio of every reply is 0; nothing but the policy
    is trainable; the tree of a pair gives each reply what a row of its own gives. All is asked of the model as it will
    be trained: under FSDP a process has no whole base before.
    """

    def __init__(self, trainer: PreferenceTrainer, *, parent: Adapter, folder: Path, precision: str) -> None:
        self.trainer, self.parent, self.precision = trainer, parent, precision
        self.file = folder / ANSWERS
        self.identity: ReferenceIdentity  # once training has begun

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask, or read what an earlier attempt has asked.

        Raises:
            IntegrityError: the reference is not the parent. ConfigError: the base's attention follows no such mask.
        """
        with self.trainer.meter.paused():
            n_tensors = _require_parent(self.trainer.model, Path(self.parent.path))
            # No process finds the file of another that is before it: none can finish asking alone.
            largest = self._read() if self.file.is_file() else self._ask()
        self.identity = ReferenceIdentity(
            parent=self.parent.digest,
            n_pairs=min(N_CHECKED, len(self.trainer.pairs)),
            largest_log_ratio=largest,
            tolerance=TOLERANCE[self.precision],
            n_tensors=n_tensors,
        )

    def _ask(self) -> float:
        """The largest log-ratio of the checked pairs; the answers are kept when it is small enough."""
        trainer = self.trainer
        apart = trainer.tree_difference(max(trainer.pairs, key=lambda pair: pair.longest))
        if not apart <= LAYOUT_TOLERANCE[self.precision]:
            raise ConfigError(
                "`attention` must give each reply of a pair what a row of its own gives it, got log-probabilities "
                f"{apart:.3g} nats a token apart for this base; say `sdpa`, or take a base with full attention"
            )
        train = trainer.log_probabilities(trainer.pairs, adapter=REFERENCE)
        validation = trainer.log_probabilities(trainer.validation, adapter=REFERENCE)
        policy = trainer.log_probabilities(trainer.pairs[:N_CHECKED], adapter=POLICY)
        largest = float((policy - train[: len(policy)]).abs().max())
        if not largest <= TOLERANCE[self.precision]:
            raise IntegrityError(
                "`reference` must be the adapter that the policy starts from: at step 0 every log-ratio must be 0, got "
                f"{largest:.3g} nats; the parent was loaded wrongly, or the model changed between the two passes"
            )
        trainer.reference, trainer.validation_reference = train, validation
        if trainer.processes.is_first:
            torn = self.file.with_name(f"{self.file.name}.new")
            answers = {"train": train.contiguous(), "validation": validation.contiguous()}
            save_file(answers, torn, metadata={"largest_log_ratio": repr(largest)})
            torn.replace(self.file)
        return largest

    def _read(self) -> float:
        """As `_ask`, of the attempt that asked; a resumed policy has left the reference, and cannot be checked."""
        answers = load_file(self.file)
        self.trainer.reference, self.trainer.validation_reference = answers["train"], answers["validation"]
        with safe_open(self.file, framework="pt") as kept:
            return float(kept.metadata()["largest_log_ratio"])


def _require_parent(model: Any, parent: Path) -> int:
    """How many tensors of the frozen adapter are the parent's; all must be, and none may be trainable."""
    from peft import get_peft_model_state_dict

    frozen = get_peft_model_state_dict(model, adapter_name=REFERENCE, save_embedding_layers=False)
    stored = load_file(parent / WEIGHTS)
    same = [
        name
        for name, tensor in stored.items()
        if name in frozen and torch.equal(whole(frozen[name]).float(), tensor.float())
    ]
    if len(same) != len(stored) or len(stored) != len(frozen):
        raise IntegrityError(
            f"`reference` must have the {len(stored)} tensors of the parent adapter, got {len(same)} that are the same"
        )
    moving = [name for name, value in model.named_parameters() if value.requires_grad and f".{POLICY}" not in name]
    if moving:
        raise IntegrityError(f"`reference` must be frozen, got {len(moving)} trainable weights (first `{moving[0]}`)")
    return len(same)
