"""How much noise NEFTune really adds (arXiv 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.training.packing import Examples, Pack


@dataclass(frozen=True, slots=True, kw_only=True)
class NeftuneNoise:
    """Half-width of the uniform noise on every embedding coordinate, mean over the tokens seen."""

    alpha: float  # as the recipe has it
    applied: float  # with L the tokens of the pack, as transformers takes it
    unpacked: float  # with L the tokens of the example, as without packing


def noise_bound(alpha: float, *, n_tokens: int, width: int) -> float:
    """Half-width of the uniform noise, α / √(L·d) (algorithm 1), for L = `n_tokens` and d = `width`.

    transformers takes L from the batch tensor: here the tokens of the whole pack, not of one example, so that packing
    lowers the noise. It is the same in every arm that packs alike.
    """
    return alpha / math.sqrt(n_tokens * width)


def measure_noise(
    alpha: float | None, examples: Examples, seen: Sequence[Pack], *, applied: float, width: int
) -> NeftuneNoise | None:
    """The noise of a finished training; `applied` is its bound summed over the tokens seen. None without NEFTune."""
    if alpha is None:
        return None
    lengths = [len(examples[row].input_ids) for pack in seen for row in pack.rows]
    unpacked = sum(length * noise_bound(alpha, n_tokens=length, width=width) for length in lengths)
    return NeftuneNoise(alpha=alpha, applied=applied / sum(lengths), unpacked=unpacked / sum(lengths))
