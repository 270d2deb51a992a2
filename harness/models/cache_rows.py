"""Key-value caches as sets of rows that can be joined, thinned and widened while decoding goes on.

All rows of a batch end in the same column; shorter ones have masked columns before or between their tokens. Positions
are given explicitly, so masked columns cost memory but change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DynamicCache


def is_plain(config: Any) -> bool:
    """Whether every layer has full attention with an ordinary growing cache, so that rows can be joined."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=config.get_text_config()).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


@dataclass(slots=True, kw_only=True)
class Rows:
    """A batch in flight: what its layers remember and which columns count."""

    cache: DynamicCache  # layers of keys and values, each [rows, heads, columns, head size]
    mask: Tensor  # [rows, columns], 1 where a column holds a token of that row


def shared_cache(config: Any, prefix: DynamicCache | None, n_rows: int) -> DynamicCache:
    """An empty cache, or one that begins with a one-row prefix repeated for `n_rows`; the prefix is not changed."""
    from transformers import DynamicCache

    if prefix is None:
        return DynamicCache(config=config)
    return from_layers([(k.expand(n_rows, -1, -1, -1), v.expand(n_rows, -1, -1, -1)) for k, v in layers_of(prefix)])


def select(rows: Rows, kept: Sequence[int], *, trim: bool) -> Rows:
    """Keep (or repeat) the rows of these indices; `trim` also drops leading columns that no row uses any more."""
    import torch

    indices = torch.tensor(list(kept), dtype=torch.long, device=rows.mask.device)
    mask = rows.mask.index_select(0, indices)
    if not trim:
        rows.cache.batch_select_indices(indices)
        return Rows(cache=rows.cache, mask=mask)
    first = int(mask.any(dim=0).int().argmax())
    layers = [
        (k[:, :, first:].index_select(0, indices), v[:, :, first:].index_select(0, indices))
        for k, v in layers_of(rows.cache)
    ]
    return Rows(cache=from_layers(layers), mask=mask[:, first:])


def join(parts: Sequence[Rows]) -> Rows:
    """Put batches of different length one below the other, aligned at their last column."""
    import torch
    from torch.nn.functional import pad

    if len(parts) == 1:
        return parts[0]
    n_columns = max(part.mask.shape[1] for part in parts)
    lacking = [n_columns - part.mask.shape[1] for part in parts]
    per_part = [layers_of(part.cache) for part in parts]
    layers = []
    for layer in range(len(per_part[0])):
        keys, values = (
            torch.cat([pad(p[layer][i], (0, 0, n, 0)) for p, n in zip(per_part, lacking, strict=True)]) for i in (0, 1)
        )
        layers.append((keys, values))
        for p in per_part:  # free each part's layer as soon as it is copied: halves the peak
            p[layer] = (keys[:0], values[:0])
    mask = torch.cat([pad(part.mask, (n, 0)) for part, n in zip(parts, lacking, strict=True)])
    return Rows(cache=from_layers(layers), mask=mask)


def layers_of(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer."""
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def from_layers(layers: Sequence[tuple[Tensor, Tensor]]) -> DynamicCache:
    """A cache of these keys and values; they are not copied, and what comes to them is."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache: DynamicCache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache
