"""Adapters on the embedded model, made in seconds: `from embedded import embedded_adapter, free_port`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from harness.doors.adapters import adapter_digest
from harness.models.bases import base_folder, resolve_base
from harness.types import Adapter


def embedded_adapter(folder: Path, *, seed: int = 0, spread: float = 0.02) -> Adapter:
    """Random, non-zero LoRA weights of rank 16 on all linear layers, saved as PEFT saves them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = resolve_base("embedded")
    model: Any = AutoModelForCausalLM.from_pretrained(base_folder(base), dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tuned: Any = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=spread)
    tuned.save_pretrained(folder)
    return Adapter(name="film", version=None, path=str(folder), digest=adapter_digest(folder), base=base)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port
