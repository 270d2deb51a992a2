"""Connections: how long a client may keep one waiting, what is not one request, and how many there are.

uvicorn's HTTP/1.1 with bounds: a request comes whole, and its answer is read, within `timeout` seconds and one more for
every 16 KiB that moved. At the bound a new connection takes the place of one that waits for its client, first of the
client that has most: who sends half a head and stops loses to who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from harness.serving.error_answers import ApiError
from harness.serving.limits import ServingLimits
from harness.serving.logs import Refusals

_SLOWEST = 16_384  # bytes a second that a slow client must move beyond its timeout
_FILES = 64  # descriptors kept for files, where there are so many
_HEAD = 16_384  # bytes of a request's head
_MESSAGES = {
    400: "the request must be HTTP/1.1, and tell its length once: by `Content-Length`, or in chunks",
    431: f"the head of a request must have at most {_HEAD} bytes; shorten it",
    501: "`Transfer-Encoding` must be `chunked`, or be left out",
}


def _is_ours(record: logging.LogRecord) -> bool:
    """What clients do wrong is counted, not logged; nor is it news that a stop cut an answer short."""
    is_cut = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return record.levelno >= logging.ERROR and not is_cut


_LOGGER = logging.getLogger("uvicorn.error.connections")
_LOGGER.addFilter(_is_ours)


class Crowd:
    """The open connections of a server, the one that was of use longest ago first."""

    def __init__(self, limits: ServingLimits, refusals: Refusals) -> None:
        self.limits = limits
        self.refusals = refusals
        self._open: dict[Connection, None] = {}
        self._n_files, self._counted = 0, 0.0

    def enter(self, new: Connection) -> None:
        """Take a connection in: another that waits for its client goes for it, or, where none does, the new one."""
        most = self._most()
        n_of = Counter(other.host for other in self._open)
        is_full, has_its_share = len(self._open) >= most, n_of[new.host] >= max(1, most // 2)
        self._open[new] = None
        if is_full or has_its_share:
            rivals = [
                c for c in self._open if c.is_waiting and c is not new and (not has_its_share or c.host == new.host)
            ]
            goes = max(rivals, key=lambda c: n_of[c.host], default=new)  # of equals the first
            told = "all connections of this server are at work; wait"
            error = ApiError(503, told, code="too_many_connections", headers={"Retry-After": "1"})
            goes.refuse(error, "crowded" if goes is new else "displaced")

    def use(self, connection: Connection) -> None:
        """It has just been of use: others go first."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self._open.pop(connection, None)

    def _most(self) -> int:
        """As many as were asked for, and as the system lets this process have beside its files, at this moment."""
        if sys.platform == "win32":
            return self.limits.max_connections
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if allowed == resource.RLIM_INFINITY:
            return self.limits.max_connections
        if time.monotonic() - self._counted > 1:
            with contextlib.suppress(OSError):  # which takes a descriptor itself
                self._n_files, self._counted = len(os.listdir("/dev/fd")) - len(self._open), time.monotonic()
        room = allowed - self._n_files
        return max(1, min(self.limits.max_connections, room - min(_FILES, 4 + room // 4)))


class _Patience:
    """Seconds that one thing may take, and more the more of it has come."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._thing: object = None
        self._since, self._before = 0.0, 0

    def is_over(self, thing: object, n_bytes: int) -> bool:
        """Whether the thing that is waited for has been so for too long; None is nothing."""
        now = time.monotonic()
        if thing != self._thing:
            self._thing, self._since, self._before = thing, now, n_bytes
        return thing is not None and now - self._since > self._seconds + (n_bytes - self._before) / _SLOWEST


class _OneRequest(h11.Connection):
    """Refuses a request whose end two parties could see at different places, and a head without end."""

    n_requests = 0

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=_HEAD)
        self.refusal = _not_http(400)

    def next_event(self) -> Any:
        """The next event; raises `RemoteProtocolError`, and keeps as `refusal` what the client is to be told."""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self.n_requests += 1
                _require_one_end(event)
        except h11.RemoteProtocolError as err:
            self.refusal = _not_http(err.error_status_hint if err.error_status_hint in _MESSAGES else 400)
            raise
        return event


def _not_http(status: int) -> ApiError:
    return ApiError(status, _MESSAGES[status], code="not_http")


def _require_one_end(head: h11.Request) -> None:
    names = {name for name, _ in head.headers}
    if b"transfer-encoding" in names and (b"content-length" in names or head.http_version < b"1.1"):
        raise h11.RemoteProtocolError("it has two lengths")
    if len(head.target) + sum(len(name) + len(value) for name, value in head.headers) > _HEAD:
        raise h11.RemoteProtocolError("it is too long", error_status_hint=431)


class Connection(H11Protocol):
    """One client's connection; `connection_of` binds it to a crowd."""

    crowd: Crowd

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _LOGGER
        self.conn: _OneRequest = _OneRequest()
        self._reading = _Patience(self.crowd.limits.timeout)
        self._writing = _Patience(self.crowd.limits.timeout)
        self._n_received = self._n_unsent = self._n_sent = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def host(self) -> str:
        """The client's address."""
        return self.client[0] if self.client else ""

    @property
    def is_waiting(self) -> bool:
        """Whether the next word is the client's: it is idle, or its request has not come whole."""
        cycle = self.cycle
        return (cycle is None or cycle.response_complete or cycle.more_body) and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(transport)
        self._look()
        self.crowd.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._n_received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.crowd.use(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self.refuse(self.conn.refusal, "not_http")

    def shutdown(self) -> None:
        """Finish the request that runs; hang up where there is none."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def refuse(self, error: ApiError, why: str) -> None:
        """Hang up; with an answer where something came and none was begun."""
        self.crowd.refusals.note(why)
        if self.transport.get_write_buffer_size():  # he does not read what he was told already
            self.transport.abort()
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and (not self._is_idle or why == "crowded"):
            body = json.dumps(error.body()).encode()
            fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
            head = h11.Response(
                status_code=error.status,
                headers=[*(fields | error.headers).items()],
                reason=STATUS_PHRASES[error.status],
            )
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    @property
    def _is_idle(self) -> bool:
        return self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    def _look(self) -> None:
        """Now and then: has the client kept this connection waiting for too long?"""
        timeout = self.crowd.limits.timeout
        self._timer = self.loop.call_later(min(1.0, timeout / 4), self._look)
        n_unsent = self.transport.get_write_buffer_size()
        self._n_sent += max(0, self._n_unsent - n_unsent)
        self._n_unsent = n_unsent
        if self._writing.is_over("answer" if n_unsent else None, self._n_sent):
            self.crowd.refusals.note("slow_reader")
            self.transport.abort()
        elif not self.transport.is_closing() and self._reading.is_over(*self._awaited()):
            told = f"a request must come whole within {timeout:g} seconds; send it again"
            self.refuse(ApiError(408, told, code="request_timeout"), "timed_out")

    def _awaited(self) -> tuple[object, int]:
        """What the client has begun to send, and what came of it; of an idle one uvicorn takes care."""
        state, n = self.conn.their_state, self.conn.n_requests
        if state is h11.SEND_BODY:
            # What comes after the answer is read for a while, so that the client may read the answer.
            return (("rest", n), 0) if self.conn.our_state is h11.DONE else (("body", n), self._n_received)
        is_begun = state is h11.IDLE and (self.cycle is None or not self._is_idle)
        return (("head", n) if is_begun else None), self._n_received


def connection_of(crowd: Crowd) -> type[Connection]:
    """The protocol of a crowd's connections."""
    return type("Connection", (Connection,), {"crowd": crowd})
