"""Decoding in one batch that is kept full: a finished row makes room for the next prompt.

Compared with `generate` batch by batch: rows that ended early do not idle until the longest is done, the part that all
prompts share (system prompt, few-shot exchanges) is encoded once, and each row has its own chance. Prompts may arrive
while others are under way, which is what a server needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.models.batch import Batch, Job, Line
from harness.models.devices import card_bytes
from harness.models.memory import is_out_of_memory, release


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is decoded at once."""

    n_rows: int  # rows of a batch
    n_tokens: int  # rows × columns of the cache, prompt and reply


# On two cores a step with 32 rows takes hardly longer than one with 8; on a GPU one with 256 hardly longer than one
# with 1, since it waits for Python. The tokens bound the cache: 0.7 GB for the embedded model on the CPU.
_ON_CPU = Limits(n_rows=32, n_tokens=8_192)
_LEAST_ROWS, _MOST_ROWS, _ROW_BYTES = 64, 256, 256 * 2**20  # a row's logits and their drawing, with room to spare
_CACHE_SHARE = 0.25  # of the card's memory
_TOKENS_OF_STATES = 32_768


def limits_on(kind: Literal["cpu", "cuda"], config: Any) -> Limits:
    """What a model decodes at once: on a GPU the rows whose logits its memory holds, and the tokens of their cache."""
    if kind == "cpu":
        return _ON_CPU
    card, text = card_bytes(), config.get_text_config()
    n_rows = min(_MOST_ROWS, max(_LEAST_ROWS, card // _ROW_BYTES))
    heads = getattr(text, "num_attention_heads", None)
    if heads is None:  # layers that keep a state in the place of keys and values
        return Limits(n_rows=n_rows, n_tokens=_TOKENS_OF_STATES)
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    token = 2 * 2 * text.num_hidden_layers * kv_heads * head  # keys and values in 16 bits
    return Limits(n_rows=n_rows, n_tokens=int(_CACHE_SHARE * card // token))


class Decoder:
    """Decides which lines run: first come, first served, within rows, tokens and what may share a batch."""

    def __init__(self, batch: Batch, *, limits: Limits) -> None:
        self.limits = limits
        self.waiting: deque[Line] = deque()
        self._batch = batch

    @property
    def running(self) -> list[Line]:
        """Lines that are in the batch and not finished."""
        return self._batch.running

    def run(self, jobs: Sequence[Job]) -> None:
        """Decode every job of one stream to its end."""
        # The longest first: a row that joins later is never longer than what the batch already holds.
        ordered = sorted(jobs, key=lambda job: (-len(job.ids), job.ids, job.adapter or "", job.draw))
        if self._batch.can_join:
            self._batch.share_prefixes(jobs)
        self.add(Line(job=job) for job in ordered)
        while self._turn_or_shrink():
            pass

    def add(self, lines: Iterable[Line]) -> None:
        """Let lines wait for their turn."""
        self.waiting.extend(lines)

    def cancel(self, line: Line) -> None:
        """Forget a line; where it runs, its row is free from the next turn on."""
        if line.finish is not None:
            return
        line.finish = "unknown"
        if line in self.waiting:
            self.waiting.remove(line)

    def turn(self) -> bool:
        """One step of the whole batch, joined before it by what waits; says whether anything is left to do."""
        running = self.running
        n_free = self._room(running)
        # Joining copies the cache, so a few rows wait for each other, but never for the end of the batch.
        is_worth_it = n_free >= min(len(self.waiting), max(1, self.limits.n_rows // 8))
        if n_free and (not running or (self._batch.can_join and is_worth_it)):
            self._batch.admit([self.waiting.popleft() for _ in range(n_free)])
        elif 2 * len(running) <= len(self._batch.lines):
            self._batch.compact()
        if self.running:
            self._batch.step()
        return bool(self.running or self.waiting)

    def _turn_or_shrink(self) -> bool:
        """A turn; where memory runs out, half the batch waits, until one line alone does not fit."""
        try:
            return self.turn()
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err) or len(self.running) < 2:
                raise
        self.shrink()  # behind the error, which holds on to the tensors of the step
        return True

    def shrink(self) -> None:
        """Go on with half as many rows: what the batch holds is given back, and no token is lost."""
        n_rows = max(1, len(self.preempt()) // 2)
        release()
        self.limits = replace(self.limits, n_rows=n_rows)

    def preempt(self) -> list[Line]:
        """Give up the batch's memory: its lines wait again, first in line, and lose no token; gives them back."""
        lines = self._batch.clear()
        self.waiting.extendleft(reversed(lines))
        return lines

    def _room(self, running: Sequence[Line]) -> int:
        """How many waiting lines may start now: those at the front that fit rows, tokens and the batch's stream."""
        columns = max((line.job.n_columns for line in running), default=0)
        stream = running[0].job.stream if running else None
        n_fresh = 0
        for line in self.waiting:
            columns = max(columns, line.job.n_columns)
            n_rows = len(running) + n_fresh + 1
            is_first = n_rows == 1  # alone, even the longest may run
            fits = n_rows <= self.limits.n_rows and n_rows * columns <= self.limits.n_tokens
            if not (is_first or fits) or (stream is not None and line.job.stream != stream):
                break
            stream = line.job.stream
            n_fresh += 1
        return n_fresh
