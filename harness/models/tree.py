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
    from torch import Tensor


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
        limit: nodes of a pack.
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
