"""Examples of different lengths into rows of about the same length, with no padding and no view of each other.

A pack is one flattened row: examples laid end to end, batch size one, as long as its examples and no longer. Two things
keep an example from seeing its neighbours: `position_ids` that restart at 0 per example, and the absence of an
`attention_mask`. transformers reads the restarts as borders and builds the block-diagonal causal mask (sdpa, eager) or
calls the variable-length kernel (FlashAttention). A mask of ones, or a key-value cache, switches that off silently.

Best-fit decreasing (Johnson 1974; for language models Ding et al. 2024, arXiv 2404.10830): longest example first, each
into the fullest pack that still has room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.errors import ConfigError, InputError
from harness.seeding import derive, stream
from harness.types import Example

if TYPE_CHECKING:
    import torch


class Examples(Protocol):
    """Examples by row number: a tuple, a list, or a columnar table."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Example: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Which examples share one row."""

    rows: tuple[int, ...]  # row numbers in the examples
    n_tokens: int  # their tokens together: the length of the flattened row
    epoch: int  # pass over the data that they were drawn in, from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPack:
    """One pack as tensors. T tokens, of which L are predicted under loss."""

    input_ids: torch.Tensor  # (1, T)
    position_ids: torch.Tensor  # (1, T), restarts at 0 per example
    loss_positions: torch.Tensor  # (L,) positions whose logits predict a completion token
    targets: torch.Tensor  # (L,) the tokens that they predict
    borders: torch.Tensor  # (n + 1,) int32, where each example starts, and T
    longest: int  # tokens of the longest example

    def model_inputs(self, *, is_variable_length: bool) -> dict[str, object]:
        """Keyword arguments for a forward pass that isolates; FlashAttention also takes the borders as they are."""
        inputs: dict[str, object] = {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "use_cache": False,
        }
        if is_variable_length:
            inputs.update(cu_seq_lens_q=self.borders, cu_seq_lens_k=self.borders)
            inputs.update(max_length_q=self.longest, max_length_k=self.longest)
        return inputs


def best_fit_decreasing(lengths: Sequence[int], *, pack_tokens: int) -> tuple[tuple[int, ...], ...]:
    """Rows grouped so that no group holds more than `pack_tokens` tokens; equal lengths keep their order.

    O(n log n) for the sort and O(pack_tokens / 64) a row: open packs are kept by the room that they have left, and the
    bits of one integer say which rooms occur.
    """
    if lengths:
        _validate_lengths(lengths, pack_tokens=pack_tokens)
    packs: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(pack_tokens + 1)]
    occupied = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        length = lengths[row]
        fitting = occupied >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1  # lowest set bit: the least room that suffices
            pack = by_room[room].pop()
            if not by_room[room]:
                occupied &= ~(1 << room)
        else:
            room, pack = pack_tokens, len(packs)
            packs.append([])
        packs[pack].append(row)
        by_room[room - length].append(pack)
        occupied |= 1 << (room - length)
    return tuple(tuple(pack) for pack in packs)


def plan_packs(
    lengths: Sequence[int], *, pack_tokens: int, train_tokens: int | None, epochs: int | None, seed: int
) -> tuple[Pack, ...]:
    """The packs of a whole training, in order: the same for the same seed, different in every epoch.

    Each epoch draws the examples anew without replacement; a budget of tokens ends the last one early, at the first
    example that would go beyond it. Exactly one of `train_tokens` and `epochs` must be given.
    """
    _validate_lengths(lengths, pack_tokens=pack_tokens)
    if (train_tokens is None) == (epochs is None):
        raise ConfigError(f"exactly one of `train_tokens` and `epochs` must be set, got {train_tokens} and {epochs}")
    if train_tokens is not None and train_tokens < max(lengths):
        raise ConfigError(
            f"`train_tokens` must hold the longest example, got {train_tokens} for one of {max(lengths)}: raise it"
        )
    left = train_tokens if train_tokens is not None else sum(lengths) * (epochs or 0)
    packs: list[Pack] = []
    epoch = 0
    while left > 0:
        drawn = _draw(lengths, budget=left, seed=seed, epoch=epoch)
        groups = best_fit_decreasing([lengths[row] for row in drawn], pack_tokens=pack_tokens)
        for group in stream(seed, "packs", epoch).permutation(len(groups)).tolist():
            rows = tuple(drawn[place] for place in groups[group])
            packs.append(Pack(rows=rows, n_tokens=sum(lengths[row] for row in rows), epoch=epoch))
        left = left - sum(lengths) if len(drawn) == len(lengths) else 0
        epoch += 1
    return tuple(packs)


def plan_sample(lengths: Sequence[int], *, pack_tokens: int, max_tokens: int, seed: int) -> tuple[Pack, ...]:
    """Packs of one seeded sample of at most `max_tokens` tokens: the fixed set that validation measures."""
    budget = min(max_tokens, sum(lengths))
    return plan_packs(
        lengths, pack_tokens=pack_tokens, train_tokens=budget, epochs=None, seed=derive(seed, "validation")
    )


def flatten(examples: Sequence[Example]) -> FlatPack:
    """Examples laid end to end as one row of tensors.

    A completion token is predicted at the position before it; the first token of an example is never predicted, since
    what stands before it belongs to another example.
    """
    import torch

    input_ids: list[int] = []
    position_ids: list[int] = []
    loss_positions: list[int] = []
    borders = [0]
    for example in examples:
        start, length = len(input_ids), len(example.input_ids)
        input_ids.extend(example.input_ids)
        position_ids.extend(range(length))
        loss_positions.extend(range(start + max(example.n_prompt_tokens, 1) - 1, start + length - 1))
        borders.append(start + length)
    ids = torch.tensor(input_ids, dtype=torch.long)
    positions = torch.tensor(loss_positions, dtype=torch.long)
    return FlatPack(
        input_ids=ids[None],
        position_ids=torch.tensor(position_ids, dtype=torch.long)[None],
        loss_positions=positions,
        targets=ids[positions + 1],
        borders=torch.tensor(borders, dtype=torch.int32),
        longest=max(len(example.input_ids) for example in examples),
    )


def _draw(lengths: Sequence[int], *, budget: int, seed: int, epoch: int) -> list[int]:
    """Rows in a random order, cut before the first that would go beyond the budget."""
    import numpy as np

    order = stream(seed, "windows", epoch).permutation(len(lengths))
    spent = np.cumsum(np.asarray(lengths, dtype=np.int64)[order])
    drawn: list[int] = order[: int(np.searchsorted(spent, budget, side="right"))].tolist()
    return drawn


def _validate_lengths(lengths: Sequence[int], *, pack_tokens: int) -> None:
    if len(lengths) == 0:
        raise InputError("`examples` must hold at least one example, got none: prepare a larger corpus")
    if min(lengths) < 1:
        raise InputError(f"every example must hold a token, got one of {min(lengths)} tokens")
    if max(lengths) > pack_tokens:
        raise ConfigError(
            f"`pack_tokens` must hold the longest example, got {pack_tokens} for one of {max(lengths)} tokens: "
            f"raise it, or prepare shorter windows"
        )
