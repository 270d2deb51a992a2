"""Continuous batching: one thread owns the model, requests join the running batch as soon as there is room.

The thread knows tokens only; what they mean as text is the asker's concern. Nothing is lost when memory runs out: the
batch is taken back, made smaller, and its lines are encoded again with the tokens they had.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.composing import compose
from harness.errors import InputError, ScreentestError
from harness.models.batch import Job, Likelihood, Line
from harness.models.decoder import Limits
from harness.models.detokenizing import stop_test
from harness.models.local import LocalModel
from harness.models.memory import is_out_of_memory, release
from harness.models.protocol import adapter_name
from harness.serving.error_answers import DO_NOT_RETRY, ApiError, internal, of_screentest, too_many
from harness.types import Adapter, Decoding, FinishReason

_TURNS_BEFORE_GROWTH = 256  # turns without trouble until a shrunk batch may grow again
_SMOOTHING = 0.1  # weight of the newest reply in the mean time between replies
Status = Literal["ok", "stopping", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request: `n` replies to one prompt."""

    ids: tuple[int, ...]  # the rendered prompt
    key: str  # names the prompt: with seed, draw and step it decides all chance
    decoding: Decoding  # `n_draws` is the number of replies
    adapter: Adapter | None = None
    n_top: int | None = None  # likeliest tokens to report per step; None reports no log-probabilities
    n_prompt_top: int | None = None  # the same of the prompt's own tokens
    is_streamed: bool = True  # False: everything is told once, at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """News of one reply: the tokens since the last piece."""

    draw: int
    tokens: tuple[int, ...]
    likelihoods: tuple[Likelihood, ...]
    finish: FinishReason | None
    prompt: tuple[Likelihood, ...] = ()  # of the prompt's tokens, with the first piece


class Ticket:
    """A request on its way; `pieces` are for the event loop that submitted it."""

    def __init__(self, ask: Ask, loop: asyncio.AbstractEventLoop) -> None:
        self.ask = ask
        self.loop = loop
        self.pieces: asyncio.Queue[Piece | ApiError] = asyncio.Queue()
        self.lines: list[Line] = []
        self.told: list[int] = [0] * ask.decoding.n_draws  # tokens of each reply that were told
        self.is_closed = False  # nothing more will be told
        self.submitted = time.perf_counter()

    async def next(self) -> Piece:
        """The next news; raises `ApiError` when the request failed."""
        piece = await self.pieces.get()
        if isinstance(piece, ApiError):
            raise piece
        return piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the engine is."""

    running: int
    waiting: int
    adapters: list[str] = field(default_factory=list)
    status: Status = "ok"


class LoadedAdapters:
    """Which adapters a model holds; used by the engine's thread alone."""

    def __init__(self, model: LocalModel, *, capacity: int) -> None:
        """`capacity` is the number of adapters that may be in memory at once."""
        if capacity < 1:
            raise InputError(f"`capacity` must be at least 1 adapter, got {capacity}")
        self._model = model
        self._capacity = capacity
        self._used: OrderedDict[str, None] = OrderedDict()  # least recently used first

    @property
    def names(self) -> list[str]:
        """Adapters in memory, most recently used last."""
        return list(self._used)

    def touch(self, adapter: Adapter | None) -> bool:
        """Mark an adapter as used; says whether it is in memory (the bare base always is)."""
        if adapter is None:
            return True
        name = adapter_name(adapter)
        if name not in self._used:
            return False
        self._used.move_to_end(name)
        return True

    def load(self, adapter: Adapter, *, in_use: Collection[str | None]) -> bool:
        """Bring an adapter into memory, not while the model is borrowed; False when all others are in use.

        Raises:
            IntegrityError: its files do not have the digest on record.
            InputError: it does not fit the base.
        """
        while len(self._used) >= self._capacity:
            oldest = next((name for name in self._used if name not in in_use), None)
            if oldest is None:
                return False
            del self._used[oldest]
            self._model.bank.remove(oldest)
        self._used[self._model.add_adapter(adapter)] = None
        return True


class Engine:
    """Accepts requests from any event loop and decodes them together in a thread of its own."""

    def __init__(self, model: LocalModel, *, max_batch: int, max_queue: int, max_adapters: int) -> None:
        """Bounds: replies decoded at once, replies waiting, adapters in memory."""
        self._model = model
        self._limits = Limits(n_rows=max_batch, n_tokens=max(model.limits.n_tokens, max_batch * 256))
        self._capacity = max_batch + max_queue
        self._adapters = LoadedAdapters(model, capacity=max_adapters)
        self._decoder = model.decoder(self._on_token, limits=self._limits)
        self._tickets: dict[int, Ticket] = {}  # id(line) -> its ticket
        self._news: list[tuple[Ticket, Piece | ApiError]] = []
        self._quiet_turns = 0
        self._seconds_per_reply = 1.0  # between two replies that end, while there is work
        self._finished = 0.0  # when the last one ended
        self._inbox: deque[Ticket] = deque()  # these four are shared between threads, under `_changed`
        self._leaving: list[Ticket] = []
        self._n_open = 0
        self._is_stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="screentest-engine", daemon=True)

    # ── from the event loop ──────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse new requests, finish what was accepted, and wait for it."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, ask: Ask) -> Ticket:
        """Queue a request; must be called from a running event loop.

        Raises:
            ApiError: the queue is full (429), or the engine is stopping (503).
        """
        ticket = Ticket(ask, asyncio.get_running_loop())
        n = ask.decoding.n_draws
        with self._changed:
            if self._is_stopping:
                raise ApiError(503, "the server is stopping; ask another one", code="stopping")
            if not self._thread.is_alive():
                raise internal("the engine has stopped; restart the server")
            if self._n_open + n > self._capacity:
                raise too_many(
                    f"{self._n_open} replies are under way or waiting and there is room for {self._capacity}; "
                    "try again later",
                    code="queue_full",
                    retry_after=self._retry_after(),
                )
            self._n_open += n
            self._inbox.append(ticket)
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for a request any more: its rows are freed. Does nothing once it is finished."""
        with self._changed:
            if not ticket.is_closed:
                self._leaving.append(ticket)
                self._changed.notify()

    @property
    def load(self) -> Load:
        """How busy it is, about now."""
        with self._changed:
            running = min(self._n_open, len(self._decoder.running))
            waiting, adapters = self._n_open - running, self._adapters.names
            status: Status = "failed" if not self._thread.is_alive() else "stopping" if self._is_stopping else "ok"
            return Load(running=running, waiting=waiting, adapters=adapters, status=status)

    def _retry_after(self) -> int:
        """Seconds until half of what is open should be done."""
        return max(1, min(60, math.ceil(self._seconds_per_reply * self._n_open / 2)))

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while self._wait():
                self._load_adapters()
                with self._model.bank.borrowed():
                    while self._turn():
                        pass
        finally:
            self._fail_all(internal("the engine has stopped; restart the server"))

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when there never will be again."""
        with self._changed:
            while not (self._tickets or self._inbox or self._leaving or self._is_stopping):
                self._changed.wait()
            return bool(self._tickets or self._inbox or not self._is_stopping)

    def _load_adapters(self) -> None:
        """Start requests in their order, loading what they need, as far as there is room for adapters."""
        self._drop_leaving()
        while (ticket := self._peek()) is not None:
            adapter = ticket.ask.adapter
            in_use = {line.job.adapter for t in self._tickets.values() for line in t.lines}
            try:
                if not (self._adapters.touch(adapter) or (adapter and self._adapters.load(adapter, in_use=in_use))):
                    break
            except ScreentestError as err:
                self._pop()
                self._close(ticket, of_screentest(err))
            else:
                self._begin(self._pop())
        self._publish()

    def _turn(self) -> bool:
        """One step of the batch; False when the model must be let go: nothing to do, or an adapter to load."""
        self._drop_leaving()
        while (ticket := self._peek()) is not None and self._adapters.touch(ticket.ask.adapter):
            self._begin(self._pop())
        try:
            self._decoder.turn()
        except (RuntimeError, MemoryError) as err:
            self._recover(err)
        else:
            self._grow()
        self._publish()
        return bool(self._tickets) and self._peek() is None

    def _peek(self) -> Ticket | None:
        with self._changed:
            return self._inbox[0] if self._inbox else None

    def _pop(self) -> Ticket:
        with self._changed:
            return self._inbox.popleft()

    def _begin(self, ticket: Ticket) -> None:
        ask = ticket.ask
        name = None if ask.adapter is None else adapter_name(ask.adapter)
        stream, is_stopped = self._model.stream_of(name), stop_test(self._model.tokenizer, ask.decoding.stop)
        if ask.n_prompt_top is not None and stream != "mixed":
            stream += f" {id(ticket)}"  # where caches cannot be put together, it is encoded alone
        for draw in range(ask.decoding.n_draws):
            own = {"index": draw, "draw": draw, "adapter": name, "is_stopped": is_stopped, "stream": stream}
            line = Line(job=compose(Job, ask, **own))
            ticket.lines.append(line)
            self._tickets[id(line)] = ticket
        self._decoder.add(ticket.lines)

    def _on_token(self, line: Line) -> None:
        ticket = self._tickets[id(line)]
        if line.finish is None and not ticket.ask.is_streamed:
            return
        told = ticket.told[line.job.draw]
        ticket.told[line.job.draw] = len(line.tokens)
        piece = Piece(
            draw=line.job.draw,
            tokens=tuple(line.tokens[told:]),
            likelihoods=tuple(line.likelihoods[told:]),
            finish=line.finish,
            prompt=() if told else tuple(line.prompt),
        )
        self._news.append((ticket, piece))
        if line.finish is not None:
            self._leave(line)
            now = time.perf_counter()
            seconds, self._finished = now - max(self._finished, ticket.submitted), now
            self._seconds_per_reply += _SMOOTHING * (seconds - self._seconds_per_reply)

    def _leave(self, line: Line) -> None:
        ticket = self._tickets.pop(id(line))
        with self._changed:
            self._n_open -= 1
            ticket.is_closed = all(other.finish is not None for other in ticket.lines)

    def _close(self, ticket: Ticket, error: ApiError | None) -> None:
        """End a request before its end: with an error for the asker, or, when he has left, without a word."""
        with self._changed:
            was_closed, ticket.is_closed = ticket.is_closed, True
            if not was_closed and not ticket.lines:
                self._n_open -= ticket.ask.decoding.n_draws
        for line in ticket.lines:
            self._decoder.cancel(line)
            if id(line) in self._tickets:
                self._leave(line)
        if error is not None and not was_closed:
            self._news.append((ticket, error))

    def _drop_leaving(self) -> None:
        with self._changed:
            leaving, self._leaving = self._leaving, []
            for ticket in leaving:
                if ticket in self._inbox:
                    self._inbox.remove(ticket)
        for ticket in leaving:
            self._close(ticket, None)

    def _publish(self) -> None:
        """Tell each event loop its news, in one call per turn."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Piece | ApiError]]] = {}
        for ticket, piece in self._news:
            by_loop.setdefault(ticket.loop, []).append((ticket, piece))
        self._news = []
        for loop, news in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_deliver, news)

    # ── when something breaks ────────────────────────────────────────────────────────────────────────────────────────

    def _recover(self, err: Exception) -> None:
        """Out of memory: half the batch, and fail a request that does not even fit alone. Else fail what ran."""
        lines = self._decoder.preempt()
        self._quiet_turns = 0
        error = internal(f"decoding failed: {type(err).__name__}")
        if is_out_of_memory(err):
            release()
            if len(lines) > 1:
                self._decoder.limits = replace(self._limits, n_rows=len(lines) // 2)
                return
            told = "there was not enough memory for this request, even alone; shorten prompt or reply"
            error = ApiError(503, told, code="out_of_memory", headers=DO_NOT_RETRY)
        for line in lines:
            if id(line) in self._tickets:
                self._close(self._tickets[id(line)], error)

    def _grow(self) -> None:
        """After a while without trouble, let a shrunk batch grow again."""
        now = self._decoder.limits
        if now.n_rows >= self._limits.n_rows:
            return
        self._quiet_turns += 1
        if self._quiet_turns >= _TURNS_BEFORE_GROWTH:
            self._quiet_turns = 0
            self._decoder.limits = replace(now, n_rows=min(self._limits.n_rows, 2 * now.n_rows))

    def _fail_all(self, error: ApiError) -> None:
        with self._changed:
            self._is_stopping = True
            waiting, self._inbox = list(self._inbox), deque()
        for ticket in [*dict.fromkeys(self._tickets.values()), *waiting]:
            self._close(ticket, error)
        self._publish()


def _deliver(news: Sequence[tuple[Ticket, Piece | ApiError]]) -> None:
    for ticket, piece in news:
        ticket.pieces.put_nowait(piece)
