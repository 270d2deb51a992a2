"""Shapes of Qwen 2.5 and checkpoints with random weights in them: speed and memory hang on shapes, not on values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What decides a model's speed and memory."""

    name: str
    hidden: int  # width
    layers: int
    heads: int
    kv_heads: int
    intermediate: int  # width of the feed-forward layers
    vocabulary: int = 151_936

    @property
    def recipe(self) -> str:
        """The file name of the shipped recipes for this size; the tiny one takes the smallest's."""
        return f"qwen2.5-{'0.5b' if self.name == 'tiny' else self.name.lower()}.yaml"


SHAPES = (
    Shape(name="0.5B", hidden=896, layers=24, heads=14, kv_heads=2, intermediate=4864),
    Shape(name="1.5B", hidden=1536, layers=28, heads=12, kv_heads=2, intermediate=8960),
    Shape(name="3B", hidden=2048, layers=36, heads=16, kv_heads=2, intermediate=11008),
)
TINY = Shape(name="tiny", hidden=64, layers=2, heads=4, kv_heads=2, intermediate=128, vocabulary=1024)


def write_checkpoint(shape: Shape, folder: Path, *, tokenizer: Any, device: str) -> int:
    """Save weights that were drawn on the device, bfloat16, embeddings tied; gives the number of parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config: Any = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            make: Any = Qwen2ForCausalLM  # untyped upstream, as much here is
            model = make(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    n_parameters: int = model.num_parameters()
    return n_parameters
