"""NEFTune's noise on embeddings (arXiv 2310.05914), also where examples share a row."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.training.packing import Examples, Pack

if TYPE_CHECKING:
    from torch import Tensor

NoiseLength = Literal["example", "pack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeftuneNoise:
    """Half-width of the uniform noise on every embedding coordinate, mean over the tokens seen."""

    alpha: float  # as the recipe has it
    applied: float
    unpacked: float  # with L the tokens of the example, as without packing


def noise_bound(alpha: float, *, n_tokens: int, width: int) -> float:
    """Half-width of the uniform noise, α / √(L·d) (algorithm 1), for L = `n_tokens` and d = `width`."""
    return alpha / math.sqrt(n_tokens * width)


def noise_bounds(alpha: float, lengths: Sequence[int], *, width: int, by: NoiseLength) -> Tensor:
    """Half-width of each token's noise in a row of examples of these lengths, (T,).

    transformers takes L from the batch tensor, which here is the whole pack: α = 5 on rows of 512 then acts as 2.3 does
    on examples by themselves. `by="pack"` keeps that; it is the same in every arm that packs alike.
    """
    import torch

    taken = lengths if by == "example" else [sum(lengths)] * len(lengths)
    each = torch.tensor([noise_bound(alpha, n_tokens=n, width=width) for n in taken])
    return each.repeat_interleave(torch.tensor(lengths))


@contextlib.contextmanager
def noisy(embeddings: Any, bounds: Tensor | None) -> Iterator[None]:
    """Add uniform noise within `bounds` (T,) to what an embedding in training mode gives for one row, (1, T, d)."""
    import torch

    if bounds is None:
        yield
        return

    def add(module: Any, _: Any, output: Tensor) -> Tensor:
        if not module.training:
            return output
        return output + torch.empty_like(output).uniform_(-1, 1) * bounds[:, None].to(output)

    hook = embeddings.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


def measure_noise(
    alpha: float | None, examples: Examples, seen: Sequence[Pack], *, applied: float, width: int
) -> NeftuneNoise | None:
    """The noise of a finished training; `applied` is its bound summed over the tokens seen. None without NEFTune."""
    if alpha is None:
        return None
    lengths = [len(examples[row].input_ids) for pack in seen for row in pack.rows]
    unpacked = sum(length * noise_bound(alpha, n_tokens=length, width=width) for length in lengths)
    return NeftuneNoise(alpha=alpha, applied=applied / sum(lengths), unpacked=unpacked / sum(lengths))
