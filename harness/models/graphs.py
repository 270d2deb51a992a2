"""Decoding steps replayed as CUDA graphs: one launch in the place of a model's some 1,500, which Python makes slowly.

A graph runs the same kernels on the same addresses again, so what a step reads and writes lies in buffers that stay
where they are: keys and values with room for columns to come, an additive mask, the last tokens and their positions.
While its rows stay the same a batch lives in them; whenever rows come or go it takes its cache out again. Batches of
one adapter, or of the bare base, are replayed. PEFT picks the rows of mixed adapters by lists on the host, which no
graph can hold: those take plain steps.

On the CPU the same function runs on the same buffers, uncaptured, so that all but the capture is tested everywhere.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.models.cache_rows import Rows, from_layers, layers_of
from harness.models.devices import card_bytes

if TYPE_CHECKING:
    from torch import Tensor

Forward = Callable[..., Any]  # `AdapterBank.forward`

_log = logging.getLogger(__name__)
_MOST_GRAPHS = 8  # kept at once; each holds the logits of its rows
_MOST_SHARE, _KEPT_SHARE = 0.25, 0.05  # of the card's memory for keys and values: in use, and while nobody decodes
_COLUMNS = 128  # capacities are multiples
_MOST_ROWS = (
    128  # of a 3B on an H100, 64 take 13 ms a step replayed and 33 plain; 256 take 46 and 42: the card's own time
)
_WORTH_CAPTURING = 16  # steps ahead: a capture takes as long as some ten of them
_WARM_STEPS = 2  # plain ones before the first capture, in which libraries make what they make once
# What a model that cannot be captured raises: memory, a synchronisation, a cache asked for more than `update`.
_UNFIT = (RuntimeError, MemoryError, AttributeError, TypeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a captured step is for."""

    adapter: str | None
    n_rows: int
    capacity: int  # columns


class _FixedCache:
    """Keys and values [layers, 2, rows, heads, capacity, head size], the next at a column that the device knows."""

    def __init__(self, states: Tensor, column: Tensor) -> None:
        self.layers = [(layer[0], layer[1]) for layer in states]
        self._column = column

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one column and give all of them; the mask tells which count."""
        held = self.layers[layer]
        return held[0].index_copy_(2, self._column, keys), held[1].index_copy_(2, self._column, values)


class Step:
    """One decoding step on fixed buffers."""

    def __init__(self, key: Key, states: Tensor, forward: Forward, pool: Any) -> None:
        """`states` are zeros; the step is run on them to be captured."""
        import torch

        self.states = states
        self.column = torch.zeros(1, dtype=torch.long, device=states.device)
        self.inputs = self.column.new_zeros(2, key.n_rows, 1)  # tokens, positions
        self.mask = states.new_full((key.n_rows, 1, 1, key.capacity), -torch.inf)
        self.cache = _FixedCache(states, self.column)
        adapters = [key.adapter] * key.n_rows

        def run() -> Tensor:
            self.mask.index_fill_(3, self.column, 0.0)  # of padding rows too: without a column, softmax gives NaN
            output = forward(
                adapters,
                input_ids=self.inputs[0],
                attention_mask=self.mask,
                position_ids=self.inputs[1],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
            self.column.add_(1)
            logits: Tensor = output.logits[:, -1]
            return logits

        self.run = captured(run, pool)

    def load(self, rows: Rows) -> None:
        """Lay rows into the buffers; the rest is cleared, since a NaN counts even where its weight is 0."""
        import torch

        n_rows, n_columns = rows.mask.shape
        self.states.zero_()
        for held, found in zip(self.cache.layers, layers_of(rows.cache), strict=True):
            for buffer, tensor in zip(held, found, strict=True):
                buffer[:n_rows, :, :n_columns] = tensor
        self.mask.fill_(-torch.inf)
        self.mask[:n_rows, 0, 0, :n_columns].masked_fill_(rows.mask.bool(), 0.0)
        self.column.fill_(n_columns)


class Stay:
    """The rows of a batch while they live in the buffers of a step."""

    def __init__(self, step: Step, rows: Rows) -> None:
        step.load(rows)
        self._step, self._mask, self._n_taken = step, rows.mask, 0

    @property
    def has_room(self) -> bool:
        """Whether another column fits."""
        return self._mask.shape[1] + self._n_taken < self._step.mask.shape[-1]

    def next_logits(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """[rows, vocabulary] after one more token of each row; good until the next step."""
        import torch

        n_rows = len(tokens)
        self._step.inputs[:, :n_rows, 0] = torch.tensor([tokens, positions]).to(self._mask.device)
        logits = self._step.run()
        self._n_taken += 1
        return logits[:n_rows]

    def rows(self) -> Rows:
        """What the rows have become; views, which the next stay overwrites."""
        import torch

        n_rows = self._mask.shape[0]
        mask = torch.cat([self._mask, self._mask.new_ones(n_rows, self._n_taken)], dim=1)
        held = [(k[:n_rows, :, : mask.shape[1]], v[:n_rows, :, : mask.shape[1]]) for k, v in self._step.cache.layers]
        return Rows(cache=from_layers(held), mask=mask)


def captured(run: Callable[[], Tensor], pool: Any) -> Callable[[], Tensor]:
    """A function that replays `run`; the function itself where there is no CUDA."""
    import torch

    if pool is None:
        return run
    side, here = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        run()
    here.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        logits = run()

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay


class StepGraphs:
    """The captured steps of one model, and the memory that they share: one batch at a time lives in it."""

    def __init__(self) -> None:
        self._steps: dict[Key, Step] = {}  # the least recently used first
        self._states: Tensor | None = None
        self._pool: Any = None
        self._stay: weakref.ref[Stay] | None = None
        self._n_plain = 0  # steps since the last `drop`
        self.is_unfit = False  # tried once, and no more

    def drop(self) -> None:
        """Let go of every graph and buffer, but for what a batch still lives in: it leaves before its next step."""
        self._steps, self._states, self._pool, self._stay, self._n_plain = {}, None, None, None, 0

    @property
    def has_steps(self) -> bool:
        """Whether any step is captured."""
        return bool(self._steps)

    def rest(self) -> None:
        """Nobody decodes for now: much memory is given back, unless a batch goes on in it later."""
        held = None if self.resident else self._states
        if held is not None and held.is_cuda and held.nbytes > _KEPT_SHARE * card_bytes():
            self.drop()

    @property
    def resident(self) -> Stay | None:
        """Who lives in the buffers and may go on there; nobody else may enter."""
        return None if self._stay is None else self._stay()

    def enter(self, rows: Rows, adapters: Sequence[str | None], *, n_left: int, forward: Forward) -> Stay | None:
        """Take rows in that have at most `n_left` tokens before them; None where they must take plain steps."""
        if self.is_unfit or self.resident or len(set(adapters)) != 1 or len(adapters) > _MOST_ROWS:
            return None
        n_columns = rows.mask.shape[1]
        capacity = _up(n_columns + min(n_left, max(_COLUMNS, n_columns // 2)), _COLUMNS)
        key = Key(adapter=adapters[0], n_rows=_bucket(len(adapters)), capacity=capacity)
        step = self._steps.pop(key, None)
        if step is None and n_left >= _WORTH_CAPTURING:
            self._n_plain += 1
            step = self._made(key, rows, forward) if self._n_plain > _WARM_STEPS else None
        if step is None:
            return None
        if len(self._steps) >= _MOST_GRAPHS:
            del self._steps[next(iter(self._steps))]
        self._steps[key] = step
        stay = Stay(step, rows)
        self._stay = weakref.ref(stay)
        return stay

    def _made(self, key: Key, rows: Rows, forward: Forward) -> Step | None:
        import torch

        try:
            with torch.inference_mode(mode=False), torch.no_grad():  # a buffer of inference is read-only outside it
                states = self._room(key, rows)
                return None if states is None else Step(key, states, forward, self._pool)
        except _UNFIT as err:
            _log.debug("decoding steps are not replayed: %s", err)
            self.is_unfit = True
        self.drop()  # behind the error, which holds on to tensors
        return None

    def _room(self, key: Key, rows: Rows) -> Tensor | None:
        """Zeros for keys and values, in the memory of the last step's where they fit; None where they are too much."""
        import torch

        layers, like = rows.cache.layers, layers_of(rows.cache)[0][0]
        shape = torch.Size((len(layers), 2, key.n_rows, like.shape[1], key.capacity, like.shape[3]))
        n = shape.numel()
        if like.is_cuda and n * like.itemsize > _MOST_SHARE * card_bytes():
            return None
        if self._states is None or self._states.numel() < n or self._states.dtype != like.dtype:
            self._steps.clear()
            self._states = None  # before the larger one is made
            self._states = like.new_empty(n)
        if like.is_cuda and not self._steps:  # a pool ends with its last graph
            self._pool = torch.cuda.graph_pool_handle()
        return self._states[:n].view(shape).zero_()


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _bucket(n_rows: int) -> int:
    """Rows to compute with, so that few graphs serve all: powers of 2, from 64 on multiples of it."""
    return 1 << (n_rows - 1).bit_length() if n_rows <= 64 else _up(n_rows, 64)
