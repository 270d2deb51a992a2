"""Decoding in one batch that is kept full: a finished row makes room for the next prompt.

Compared with `generate` batch by batch: rows that ended early do not idle until the longest is done, the part that all
prompts share (system prompt, few-shot exchanges) is encoded once, and each row has its own chance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.models.adapters import AdapterBank
from harness.models.rows import Rows, join, select, shared_cache
from harness.models.sampling import chance, pick
from harness.types import Decoding, FinishReason

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DynamicCache

_ENCODED_AT_ONCE = 8192  # prompt tokens of a forward pass
_WORTH_SHARING = 8  # tokens: a shorter common beginning is not encoded apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One reply to be generated."""

    index: int  # of the request
    key: str
    draw: int
    adapter: str | None
    ids: tuple[int, ...]  # the rendered prompt
    tag: str = ""  # the request's


@dataclass(slots=True, kw_only=True)
class Line:
    """A job in flight: the tokens it has so far."""

    job: Job
    tokens: list[int] = field(default_factory=list)
    finish: FinishReason | None = None  # None while it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is decoded at once."""

    n_rows: int  # rows of a batch
    n_tokens: int  # rows × columns of the cache, prompt and reply


class Decoder:
    """Generates the jobs of one stream: rows that may share a batch."""

    def __init__(
        self,
        bank: AdapterBank,
        config: Any,
        *,
        decoding: Decoding,
        limits: Limits,
        end_ids: frozenset[int],
        is_stopped: Callable[[Sequence[int]], bool],
        pad_id: int,
        device: str,
        can_join: bool,
    ) -> None:
        self._bank = bank
        self._config = config
        self._decoding = decoding
        self._limits = limits
        self._end_ids = end_ids
        self._is_stopped = is_stopped
        self._pad_id = pad_id
        self._device = device
        self._can_join = can_join
        self._prefixes: dict[str | None, _Prefix] = {}

    def run(self, jobs: Sequence[Job], on_line: Callable[[Line], None]) -> None:
        """Decode every job; `on_line` gets each as soon as it is finished."""
        # The longest first: a row that joins later is never longer than what the batch already holds.
        waiting = deque(sorted(jobs, key=lambda job: (-len(job.ids), job.ids, job.adapter or "", job.draw)))
        if self._can_join:
            self._prefixes = {name: self._encode_prefix(name, jobs) for name in {job.adapter for job in jobs}}
        lines: list[Line] = []
        rows: Rows | None = None
        while True:
            running = [i for i, line in enumerate(lines) if line.finish is None]
            if not running and not waiting:
                return
            n_free = self._room(waiting, running, lines)
            # Joining copies the cache, so a few rows wait for each other, but never for the end of the batch.
            is_worth_it = n_free >= min(len(waiting), max(1, self._limits.n_rows // 8))
            if n_free and (not running or (self._can_join and is_worth_it)):
                lines, rows = self._refill(waiting, n_free, lines, rows, running, on_line)
            elif rows is not None and 2 * len(running) <= len(lines):
                rows = select(rows, running, trim=self._can_join)
                lines = [lines[i] for i in running]
            if rows is not None and any(line.finish is None for line in lines):
                rows = self._step(lines, rows, on_line)

    def _room(self, waiting: deque[Job], running: Sequence[int], lines: Sequence[Line]) -> int:
        """How many waiting jobs may start now, within rows and tokens."""
        if not waiting:
            return 0
        columns = max([len(waiting[0].ids), *(len(lines[i].job.ids) for i in running)]) + self._decoding.max_new_tokens
        n_rows = max(1, min(self._limits.n_rows, self._limits.n_tokens // columns))
        return max(0, min(n_rows - len(running), len(waiting)))

    def _refill(
        self,
        waiting: deque[Job],
        n_free: int,
        lines: list[Line],
        rows: Rows | None,
        running: Sequence[int],
        on_line: Callable[[Line], None],
    ) -> tuple[list[Line], Rows]:
        """Drop finished rows and put newly encoded ones in their place."""
        fresh = [waiting.popleft() for _ in range(n_free)]
        parts = [] if rows is None or not running else [select(rows, running, trim=self._can_join)]
        kept = [lines[i] for i in running]
        for name in dict.fromkeys(job.adapter for job in fresh):
            for started in self._portions([Line(job=job) for job in fresh if job.adapter == name]):
                part, logits = self._encode(started, name)
                self._take(started, pick_for(started, logits, self._decoding), on_line)
                kept += started
                parts.append(part)
        return kept, join(parts)

    def _portions(self, lines: Sequence[Line]) -> list[Sequence[Line]]:
        """Lines to be encoded together: so many that the activations of long prompts stay small."""
        if not self._can_join:
            return [lines]
        n_rows = max(1, _ENCODED_AT_ONCE // max(len(line.job.ids) for line in lines))
        return [lines[start : start + n_rows] for start in range(0, len(lines), n_rows)]

    def _encode(self, lines: Sequence[Line], name: str | None) -> tuple[Rows, Tensor]:
        """Prefill: the batch's cache, and the logits after each prompt, [rows, vocabulary].

        Equal prompts (several draws) are encoded once.
        """
        import torch

        prefix = self._prefixes.get(name, _NO_PREFIX)
        distinct = list(dict.fromkeys(line.job.ids for line in lines))
        rests = [ids[prefix.n_tokens :] for ids in distinct]
        width = max(map(len, rests))
        ids = torch.tensor([[self._pad_id] * (width - len(r)) + list(r) for r in rests], device=self._device)
        own = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rests], device=self._device)
        mask = torch.cat([own.new_ones(len(rests), prefix.n_tokens), own], dim=1)
        cache = shared_cache(self._config, prefix.cache, len(rests))
        output = self._bank.forward(
            [name] * len(rests),
            input_ids=ids,
            attention_mask=mask,
            position_ids=(own.cumsum(dim=1) - 1).clamp(min=0) + prefix.n_tokens,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows, logits = Rows(cache=cache, mask=mask), output.logits[:, -1]
        if len(distinct) < len(lines):
            place = {ids: i for i, ids in enumerate(distinct)}
            order = [place[line.job.ids] for line in lines]
            return select(rows, order, trim=False), logits[order]
        return rows, logits

    def _step(self, lines: Sequence[Line], rows: Rows, on_line: Callable[[Line], None]) -> Rows:
        """Feed every row its last token and draw the next; finished rows ride along unread."""
        import torch

        mask = torch.cat([rows.mask, rows.mask.new_ones(len(lines), 1)], dim=1)
        last = torch.tensor([[line.tokens[-1]] for line in lines], device=self._device)
        at = torch.tensor([[len(line.job.ids) + len(line.tokens) - 1] for line in lines], device=self._device)
        output = self._bank.forward(
            [line.job.adapter for line in lines],
            input_ids=last,
            attention_mask=mask,
            position_ids=at,
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._take(lines, pick_for(lines, output.logits[:, -1], self._decoding), on_line)
        return Rows(cache=rows.cache, mask=mask)

    def _take(self, lines: Sequence[Line], tokens: Sequence[int], on_line: Callable[[Line], None]) -> None:
        """Append the drawn tokens and finish the rows that ended."""
        for line, token in zip(lines, tokens, strict=True):
            if line.finish is not None:
                continue
            line.tokens.append(token)
            if token in self._end_ids or self._is_stopped(line.tokens):
                line.finish = "stop"
            elif len(line.tokens) >= self._decoding.max_new_tokens:
                line.finish = "length"
            if line.finish is not None:
                on_line(line)

    def _encode_prefix(self, name: str | None, jobs: Sequence[Job]) -> _Prefix:
        """Encode what all prompts of an adapter begin with, once."""
        import torch

        prompts = {job.ids for job in jobs if job.adapter == name}
        n_shared = common_length(min(prompts), max(prompts))
        n_shared = min(n_shared, min(map(len, prompts)) - 1)
        if len(prompts) < 2 or n_shared < _WORTH_SHARING:
            return _NO_PREFIX
        cache = shared_cache(self._config, None, 1)
        ids = torch.tensor([min(prompts)[:n_shared]], device=self._device)
        self._bank.forward([name], input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return _Prefix(n_tokens=n_shared, cache=cache)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prefix:
    n_tokens: int
    cache: DynamicCache | None  # one row


_NO_PREFIX = _Prefix(n_tokens=0, cache=None)


def pick_for(lines: Sequence[Line], logits: Tensor, decoding: Decoding) -> list[int]:
    """Draw the next token of every line with its own chance."""
    import torch

    chances = [chance(decoding, line.job.key, line.job.draw, len(line.tokens)) for line in lines]
    drawn = pick(
        logits,
        torch.tensor(chances, dtype=torch.float64, device=logits.device),
        temperature=decoding.temperature,
        top_p=decoding.top_p,
    )
    tokens: list[int] = drawn.tolist()
    return tokens


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    n = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        n += 1
    return n
