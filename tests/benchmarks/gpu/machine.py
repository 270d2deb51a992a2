"""What the machine has: device, optional packages, and the model as it is loaded with them."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPTIONAL = ("bitsandbytes", "flash_attn")
LOADED = ("torch", "transformers", "peft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the check runs, and with what."""

    device: str  # "cuda" or "cpu"
    name: str  # of the device
    memory: int | None  # bytes of the device; None for a CPU
    versions: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)  # package -> why

    def has(self, package: str) -> bool:
        """Whether an optional package can be used."""
        return package in self.versions

    @property
    def attention(self) -> str:
        """The best attention there is."""
        return "flash_attention_2" if self.has("flash_attn") else "sdpa"


def look() -> Machine:
    """Import what can be imported; FlashAttention counts only where there is CUDA."""
    import torch

    has_cuda = torch.cuda.is_available()
    versions = {name: _version(name) for name in LOADED}
    left_out: dict[str, str] = {}
    for name in OPTIONAL:
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as err:  # not installed, or built for another CUDA
            left_out[name] = " ".join(str(err).split())[:120]
            continue
        if name == "flash_attn" and not has_cuda:
            left_out[name] = "needs CUDA"
            continue
        versions[name] = _version(name)
    properties: Any = torch.cuda.get_device_properties(0) if has_cuda else None
    return Machine(
        device="cuda" if has_cuda else "cpu",
        name=properties.name if has_cuda else "CPU",
        memory=properties.total_memory if has_cuda else None,
        versions=versions,
        left_out=left_out,
    )


def load(machine: Machine, folder: Path, *, attention: str, in_4_bit: bool) -> Any:
    """A base on its device: NF4 with double quantisation where bitsandbytes is, else as it was saved."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if machine.device == "cuda" else torch.float32
    options: dict[str, Any] = {"attn_implementation": attention, "device_map": {"": machine.device}}
    # Renamed in transformers 5.
    options["dtype" if int(machine.versions["transformers"].split(".")[0]) >= 5 else "torch_dtype"] = dtype
    if in_4_bit and machine.has("bitsandbytes"):
        from transformers import BitsAndBytesConfig

        quantise: Any = BitsAndBytesConfig
        options["quantization_config"] = quantise(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, **options)


def _version(package: str) -> str:
    for name in (package, package.replace("_", "-")):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
