"""Many token sequences as one row in which shared beginnings stand once.

Sorted sequences form a tree: each token is a node whose parent is the token before it. Laid out in one row with a mask
that lets a node see its ancestors and itself alone, and with its depth as position, one forward pass gives every
sequence the logits it would have alone. Nothing is padded, and a context that twenty replies share is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.models.batch import common_length

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_WORTH_SHARING = 16  # tokens: a shorter beginning is left inside the packs
_MOST_PARTS = 16  # more beginnings than this are each common to few sequences
_PASS_NODES = 32  # what a forward pass of its own costs, in nodes


@dataclass(slots=True, kw_only=True)
class Pack:
    """One row of nodes and the path of each of its sequences."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)  # position of each node in its sequence, prefix excluded
    branches: list[Branch] = field(default_factory=list)

    @property
    def n_nodes(self) -> int:
        """Nodes of the row."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A sequence in a pack."""

    index: int  # of the sequence as given
    path: tuple[int, ...]  # node of each of its tokens, prefix excluded
    n_shared: int  # how many of them an earlier branch brought


def build_packs(sequences: Sequence[Sequence[int]], *, limit: int) -> list[Pack]:
    """Lay sequences out in packs of at most `limit` nodes; a longer sequence gets a pack of its own.

    Args:
        sequences: token ids, each without the prefix that all share.
    """
    packs: list[Pack] = []
    previous: Sequence[int] = ()
    for index in sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])):
        sequence = sequences[index]
        n_shared = common_length(previous, sequence) if packs else 0
        if not packs or packs[-1].n_nodes + len(sequence) - n_shared > limit:
            packs.append(Pack())
            n_shared = 0
        pack = packs[-1]
        above = pack.branches[-1].path[:n_shared] if n_shared else ()
        new = tuple(range(pack.n_nodes, pack.n_nodes + len(sequence) - n_shared))
        pack.tokens += sequence[n_shared:]
        pack.depths += range(n_shared, len(sequence))
        pack.branches.append(Branch(index=index, path=above + new, n_shared=n_shared))
        previous = sequence
    return packs


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Sequences that are answered on one encoded prefix."""

    indices: tuple[int, ...]  # of the sequences as given
    n_prefix: int  # tokens that all of them begin with, encoded once; 0: nothing is worth it
    n_nodes: int  # that go through the model, prefix included


def build_groups(sequences: Sequence[Sequence[int]], *, n_before: Sequence[int], limit: int) -> list[Group]:
    """Divide sequences into groups with a prefix each, so that as few nodes as possible go through the model.

    A prefix is encoded once for all packs of a group, while a branch that spans packs is encoded in each. Where a few
    beginnings are common to many sequences (the criteria of a judge, written before the conversation) a group for each
    saves more; where each beginning is common to few (the conversation, written before the criteria) the packs of one
    group share it already. Both are counted and the smaller is taken.

    Args:
        n_before: how many tokens of each may stand in a prefix: none after that is asked about.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    return _best_groups(order, sequences, n_before, limit)


def pack_limit(limit: int, n_prefix: int) -> int:
    """Nodes of a pack that stands on a prefix: rows of one length cost alike, but a pack may not shrink to nothing."""
    return max(limit - n_prefix, limit // 2)


def _best_groups(
    order: list[int], sequences: Sequence[Sequence[int]], n_before: Sequence[int], limit: int
) -> list[Group]:
    n_common = common_length(sequences[order[0]], sequences[order[-1]])
    n_prefix = min(n_common, min(n_before[i] for i in order)) if len(order) > 1 else 0
    n_prefix = n_prefix if n_prefix >= _WORTH_SHARING else 0
    packs = build_packs([sequences[i][n_prefix:] for i in order], limit=pack_limit(limit, n_prefix))
    whole = Group(indices=tuple(order), n_prefix=n_prefix, n_nodes=n_prefix + sum(pack.n_nodes for pack in packs))
    parts = _divided(order, sequences, n_common)
    if not 1 < len(parts) <= _MOST_PARTS or len(packs) == 1:
        return [whole]
    divided = [group for part in parts for group in _best_groups(part, sequences, n_before, limit)]
    n_divided = sum(group.n_nodes for group in divided) + _PASS_NODES * (len(divided) - 1)
    return divided if n_divided < whole.n_nodes else [whole]


def _divided(order: list[int], sequences: Sequence[Sequence[int]], n_common: int) -> list[list[int]]:
    """Runs of the sorted sequences that go on alike after what is common to all."""
    parts: list[list[int]] = []
    for i in order:
        if parts and sequences[parts[-1][-1]][: n_common + 1] == sequences[i][: n_common + 1]:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts


def visibility(pack: Pack, *, n_prefix: int, device: str) -> Tensor:
    """Which columns each node may see: [1, 1, nodes, prefix + nodes], True where it may."""
    import torch

    n = pack.n_nodes
    mask = torch.zeros(n, n_prefix + n, dtype=torch.bool)
    mask[:, :n_prefix] = True
    for branch in pack.branches:
        new = branch.path[branch.n_shared :]
        if not new:
            continue
        first, stop = new[0], new[-1] + 1
        above = torch.tensor(branch.path[: branch.n_shared], dtype=torch.long)
        mask[first:stop, n_prefix + above] = True
        mask[first:stop, n_prefix + first : n_prefix + stop] = torch.ones(len(new), len(new)).tril().bool()
    return mask[None, None].to(device)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to be added to attention scores: 0 where `visible`, else −inf.

    Eager attention adds whatever it is given: of a boolean mask 0 and 1, so that every node would see every other.
    `dtype` is that of the model's activations, since the memory-efficient kernel takes no other.
    """
    import torch

    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, float("-inf"))
