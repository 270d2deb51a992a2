"""An adapter folded into its base: one whole checkpoint that needs no PEFT."""

from __future__ import annotations

from pathlib import Path

from harness.models.bases import base_folder, load_tokenizer
from harness.types import Adapter


def save_merged(adapter: Adapter, folder: Path) -> None:
    """Write base + adapter as one safetensors checkpoint with its tokenizer; float32, as the adapter was learned."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(
        base_folder(adapter.base), dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    merged = PeftModel.from_pretrained(base, adapter.path).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder, safe_serialization=True)
    load_tokenizer(adapter.base).save_pretrained(folder)
