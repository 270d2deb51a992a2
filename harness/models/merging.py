"""An adapter folded into its base: one whole checkpoint that needs no PEFT."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.models.adapters import open_verified
from harness.models.attaching import attach
from harness.models.bases import base_folder, load_tokenizer
from harness.models.contracts import own_template
from harness.types import Adapter

_TOLERANCE = 1e-3  # of a logit, for float32 sums in another order


def save_merged(adapter: Adapter, folder: Path) -> None:
    """Write base + adapter as one safetensors checkpoint with its tokenizer; float32, as the adapter was learned.

    Its chat template brings the adapter's own system message where a chat has none.

    Raises InputError: the checkpoint does not answer as the adapter does, say one on a head that shares its weights.
    """
    import torch

    model: Any = _load(base_folder(adapter.base))
    tokens = torch.arange(min(64, model.config.get_text_config().vocab_size))[None]
    peft = attach(model, open_verified(adapter, base=None), name="default")
    with torch.no_grad():
        expected = peft(tokens).logits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, about what is compared below
        merged = peft.merge_and_unload(safe_merge=True)
    head, embedding = merged.get_output_embeddings(), merged.get_input_embeddings()
    merged.config.tie_word_embeddings = head is not None and head.weight is embedding.weight
    merged.save_pretrained(folder, safe_serialization=True)
    tokenizer = load_tokenizer(adapter.base)
    tokenizer.chat_template = own_template(adapter, tokenizer) or tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        found = _load(folder)(tokens).logits
    if not torch.allclose(found, expected, atol=_TOLERANCE, rtol=_TOLERANCE):
        raise InputError(
            f"`{adapter.name}` must answer the same once it is merged, which it does not (its head and embeddings "
            "share their weights, and it changes one of them); use it as an adapter"
        )


def _load(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    return model.eval()
