"""Running the service until it is told to stop: what was accepted is finished, what comes later is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from types import FrameType
from typing import Any

import uvicorn

from harness.errors import UnavailableError
from harness.serving.app import Service, create_app
from harness.serving.connections import Crowd, connection_of
from harness.serving.logs import Refusals

_QUEUE = 2048  # connections that the system holds until they are taken


class Server(uvicorn.Server):
    """uvicorn with bounded connections; told to stop, it is gone after `grace` seconds, whatever its clients do."""

    def __init__(self, service: Service, *, grace: float) -> None:
        self._refusals = Refusals(service.log)
        self._grace = max(2.0, grace)
        super().__init__(
            uvicorn.Config(
                create_app(service),
                http=connection_of(Crowd(service.limits, self._refusals)),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_level="warning",
                access_log=False,
                backlog=1,  # one at a time, so that each finds its place before the next takes a descriptor
                timeout_keep_alive=max(1, round(service.limits.timeout)),
                timeout_graceful_shutdown=max(1, int(grace) - 1),  # what is left is for the engine
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what runs."""
        await super().shutdown(sockets)
        self._refusals.write()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the first signal starts the clock."""
        if not self.should_exit:
            clock = threading.Timer(self._grace, os._exit, (0,))  # stopped, as it was told
            clock.daemon = True
            clock.start()
        super().handle_exit(sig, frame)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The system has no descriptor left; asyncio tries again in a second, and would log a traceback each time."""
        if str(context.get("message")).startswith("socket.accept()"):
            self._refusals.note("no_descriptors")
        else:
            loop.default_exception_handler(context)


class _Listener(socket.socket):
    """asyncio takes as many connections in one go as it lets the system hold; here these are two numbers."""

    def listen(self, backlog: int = 0, /) -> None:
        super().listen(_QUEUE)


def serve(service: Service, sock: socket.socket, *, grace: float) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT, then finish what runs within `grace` seconds."""
    # uvicorn stops on a signal and raises it again afterwards, which would end a stop as asked with an error.
    previous = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        Server(service, grace=grace).run(sockets=[sock])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Take a signal that has done its work."""


def bind(host: str, port: int) -> socket.socket:
    """A bound socket, so that a port in use is one sentence before a model is loaded for nothing.

    Raises:
        UnavailableError: the address is in use or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = _Listener(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as err:
        sock.close()
        raise UnavailableError(f"`{host}:{port}` must be a free address of this machine: {err}; choose --port") from err
    return sock
