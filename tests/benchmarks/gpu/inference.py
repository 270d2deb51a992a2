"""How fast a base replies and judges: transformers' own `generate`, and one exact closed-set reading per prompt."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu.machine import Machine, load
from benchmarks.gpu.measuring import Measured, measure
from benchmarks.gpu.shapes import Shape

ROWS = 16
NEW_TOKENS = 64
OPTIONS = 5  # score tokens


def infer(machine: Machine, shape: Shape, folder: Path, *, attention: str) -> list[Measured]:
    """Replies of 64 tokens to 16 short prompts, and readings of five score tokens after a full row."""
    import torch

    model = load(machine, folder, attention=attention, in_4_bit=False).eval()
    generator = torch.Generator().manual_seed(0)
    long = torch.randint(0, shape.vocabulary, (ROWS, shape.row_tokens), generator=generator).to(machine.device)
    short = long[:, : shape.row_tokens // 4]

    def generate() -> int:
        with torch.inference_mode():
            found = model.generate(
                short,
                attention_mask=torch.ones_like(short),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=True,
                top_k=0,
                pad_token_id=0,
            )
        return int(found[:, short.shape[1] :].numel())

    def judge() -> int:
        with torch.inference_mode():
            logits = model(input_ids=long, use_cache=False, logits_to_keep=1).logits[:, -1].float()
            logits[:, :OPTIONS].softmax(dim=-1).tolist()
        return ROWS

    cases = (("generation, 16 rows", "tokens", generate), ("exact judge, 16 rows", "prompts", judge))
    return [
        measure(shape.name, case, unit=unit, step=step, device=machine.device, n_warm=1, n_steps=3)
        for case, unit, step in cases
    ]
