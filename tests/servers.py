"""Our service on a real socket, in this process or in one of its own: `from servers import running`."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

from harness.models.local import LocalModel
from harness.serving.app import Service
from harness.serving.limits import ServingLimits
from harness.serving.logs import RequestLog
from harness.serving.model_names import Variants
from harness.serving.server import Server, bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers."""

    url: str  # without /v1
    service: Service
    log: io.StringIO
    key: str | None

    def client(self, **options: Any) -> OpenAI:
        """The official client; it does not retry."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.key or "none", max_retries=0, **options)

    def post(self, **body: Any) -> httpx.Response:
        """A chat request."""
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=None)

    def raw(self, content: bytes) -> httpx.Response:
        """A chat request whose body is any bytes."""
        return httpx.post(f"{self.url}/v1/chat/completions", content=content, timeout=None)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


Serve = Callable[..., contextlib.AbstractContextManager[Running]]  # what `running` takes by name, on a known registry


@contextlib.contextmanager
def running(
    model: LocalModel,
    variants: Variants,
    *,
    limits: ServingLimits | None = None,
    key: str | None = None,
    with_text: bool = False,
    buffer: int | None = None,
    cors: Sequence[str] = (),
) -> Iterator[Running]:
    """Serve on a free port for the time of the block; a server that does not stop fails the test.

    `buffer` is what the system takes of an answer that nobody reads.
    """
    log = io.StringIO()
    service = Service(model, variants, limits=limits, key=key, log=RequestLog(log, with_text=with_text), cors=cors)
    with bind("127.0.0.1", 0) as sock:
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        port = sock.getsockname()[1]
        server = Server(service, grace=30)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}")
            yield Running(url=f"http://127.0.0.1:{port}", service=service, log=log, key=key)
        finally:
            server.should_exit = True
            thread.join(60)
    assert not thread.is_alive()


def wait_until_it_answers(url: str, *, seconds: float = 900) -> None:
    """Until `/health` says ok."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{url} does not answer")


def wait_until_idle(server: Running, *, seconds: float = 900) -> None:
    """Until no reply is open."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        load = server.service.engine.load
        if load.running == load.waiting == 0:
            return
        time.sleep(0.02)
    raise TimeoutError(f"still busy: {server.service.engine.load}")


def alter(file: Path) -> None:
    """Change one byte of a file, whatever its permissions."""
    mode = file.stat().st_mode
    file.chmod(mode | 0o200)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    file.chmod(mode)
