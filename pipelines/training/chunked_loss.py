"""Logits of a large vocabulary in float32, a few positions at a time.

Qwen's 151,936 tokens make 0.6 MB of each position in float32, and a loss keeps that several times: 512 positions at
once are 0.31 GB of logits, 0.31 of their log-softmax and 0.31 of its gradient, beside 0.16 in bfloat16 that the head
gives. Here float32 exists for one chunk, 0.13 GB a copy, and is computed a second time for its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 2**25  # float32 logits of a chunk: 220 positions of Qwen's vocabulary, 682 of the embedded model's


def in_chunks(read: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> list[Tensor]:
    """What `read` makes of logits (l, vocabulary) in float32 and their targets (l,), chunk by chunk.

    All in one pass, bit for bit as without chunks, where they are few.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    n = max(1, AT_ONCE // logits.shape[1])
    if len(targets) <= n:
        return [read(logits.float(), targets)]

    def of_chunk(chunk: Tensor, chosen: Tensor) -> Tensor:
        return read(chunk.float(), chosen)

    again: Any = checkpoint  # untyped upstream
    return [
        again(of_chunk, chunk, chosen, use_reentrant=False, preserve_rng_state=False)
        for chunk, chosen in zip(torch.split(logits, n), torch.split(targets, n), strict=True)
    ]
