"""Running the service until it is told to stop: what was accepted is finished, what comes later is refused."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from harness.errors import UnavailableError


def serve(app: FastAPI, sock: socket.socket, *, grace: float) -> None:
    """Serve on a listening socket until SIGTERM or SIGINT, then finish what runs within `grace` seconds."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=max(1, round(grace)), lifespan="on"
    )
    # uvicorn stops on a signal and raises it again afterwards, which would end a stop as asked with an error.
    previous = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(config).run(sockets=[sock])
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
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as err:
        sock.close()
        raise UnavailableError(f"`{host}:{port}` must be a free address of this machine: {err}; choose --port") from err
    return sock
