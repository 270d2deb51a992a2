"""Adapter files: two of them, safetensors and JSON, nothing that executes and nothing that names a machine."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from harness.errors import IntegrityError
from pipelines.training.sharding import spread_like, whole

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def save_adapter(model: Any, folder: Path, *, is_writer: bool = True) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` of the active adapter; the folder is made.

    Of several processes that train together all call it, since each may hold a part of the weights, and one writes.
    PEFT's own `save_pretrained` also writes a model card and looks the base up on the hub; neither belongs here.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: whole(tensor).contiguous() for name, tensor in weights.items()}
    if not is_writer:
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set, whose order would differ from process to process
    config.save_pretrained(str(folder))


def load_adapter_weights(model: Any, folder: Path) -> None:
    """Put the stored weights into the model's own adapter, in place; every key must match."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    there = get_peft_model_state_dict(model, save_embedding_layers=False)
    stored = {
        name: spread_like(tensor, there[name]) if name in there else tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    missing, unknown = there.keys() - stored.keys(), stored.keys() - there.keys()
    if missing or unknown:
        raise IntegrityError(
            f"`{folder.name}` must hold the weights of this recipe's adapter, got {len(missing)} missing and "
            f"{len(unknown)} unknown ones: remove the checkpoints and train again"
        )
    set_peft_model_state_dict(model, stored)
