"""The reference of a preference training: asked once, and proved to be the SFT adapter that the policy starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import IntegrityError
from harness.types import Adapter
from pipelines.training.adapter import WEIGHTS
from pipelines.training.preference_trainer import POLICY, REFERENCE

if TYPE_CHECKING:
    import torch

    from pipelines.training.preference_trainer import PreferenceTrainer

ANSWERS = "reference.safetensors"  # beside the checkpoints, so that a resumed run asks no second time
N_CHECKED = 8  # pairs whose log-ratios must be 0 before the first step
TOLERANCE = {"fp32": 1e-3, "bf16": 0.5}  # nats a reply; two passes of the same weights differ by rounding at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceIdentity:
    """That the reference is the frozen SFT adapter (arXiv 2305.18290, section 4), as it was checked."""

    parent: str  # digest of the SFT adapter
    n_pairs: int  # whose log-ratios were taken at step 0
    largest_log_ratio: float  # of them, absolute, nats a reply
    tolerance: float  # above which the training would have been refused
    n_tensors: int  # of the reference that are those of the parent's file, bit for bit


def ask_reference(trainer: PreferenceTrainer, *, parent: Adapter, folder: Path, precision: str) -> ReferenceIdentity:
    """Give the trainer the reference's log-probabilities of every pair, computed once; check that it is the parent.

    Three things must hold before the first step: the frozen adapter's weights are those of the parent's file; policy
    and reference give the same log-probabilities, so that the log-ratio of every reply is 0; nothing but the policy
    is trainable.

    Raises:
        IntegrityError: one does not hold.
    """
    n_tensors = _require_parent(trainer.model, Path(parent.path))
    answers = _answers(trainer, folder / ANSWERS)
    trainer.reference, trainer.validation_reference = answers["train"], answers["validation"]
    checked = list(trainer.pairs[:N_CHECKED])
    policy = trainer.log_probabilities(checked, adapter=POLICY)
    largest = float((policy - answers["train"][: len(checked)]).abs().max())
    if not largest <= TOLERANCE[precision]:
        raise IntegrityError(
            "`reference` must be the adapter that the policy starts from: at step 0 every log-ratio must be 0, got "
            f"{largest:.3g} nats; the parent was loaded wrongly, or the model changed between the two passes"
        )
    return ReferenceIdentity(
        parent=parent.digest,
        n_pairs=len(checked),
        largest_log_ratio=largest,
        tolerance=TOLERANCE[precision],
        n_tensors=n_tensors,
    )


def _answers(trainer: PreferenceTrainer, file: Path) -> dict[str, torch.Tensor]:
    """The reference's log-probabilities, from the file where an earlier attempt left them."""
    from safetensors.torch import load_file, save_file

    if file.is_file():
        return load_file(file)
    answers = {
        "train": trainer.log_probabilities(trainer.pairs, adapter=REFERENCE),
        "validation": trainer.log_probabilities(trainer.validation, adapter=REFERENCE),
    }
    if not trainer.processes.is_first:
        return answers
    torn = file.with_name(f"{file.name}.new")
    save_file({name: tensor.contiguous() for name, tensor in answers.items()}, torn)
    torn.replace(file)
    return answers


def _require_parent(model: Any, parent: Path) -> int:
    """How many tensors of the frozen adapter are the parent's; all must be, and none may be trainable."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    frozen = get_peft_model_state_dict(model, adapter_name=REFERENCE, save_embedding_layers=False)
    stored = load_file(parent / WEIGHTS)
    same = [
        name for name, tensor in stored.items()
        if name in frozen and torch.equal(frozen[name].detach().float().cpu(), tensor.float())
    ]  # fmt: skip
    if len(same) != len(stored) or len(stored) != len(frozen):
        raise IntegrityError(
            f"`reference` must have the {len(stored)} tensors of the parent adapter, got {len(same)} that are the same"
        )
    moving = [name for name, value in model.named_parameters() if value.requires_grad and f".{POLICY}" not in name]
    if moving:
        raise IntegrityError(f"`reference` must be frozen, got {len(moving)} trainable weights (first `{moving[0]}`)")
    return len(same)
