"""As much of the OpenAI API as a chat needs, on a port of its own: `with speaking() as url`."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

PIECES = ("I was ", "out", ".")


class Endpoint(BaseHTTPRequestHandler):
    """Speaks as much of the OpenAI API as a chat needs."""

    asked: list[dict[str, Any]] = []  # noqa: RUF012  # of the test that is running

    listed = json.dumps({"data": [{"id": n, "object": "model", "created": 0} for n in ("base", "film@best")]}).encode()

    def do_GET(self) -> None:
        self._send(200, "application/json", self.listed)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(asked)
        if asked["model"] == "full":
            self._send(400, "application/json", b'{"error": {"message": "no such variant"}}')
            return
        chunks = [
            {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "base",
             "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            for piece in PIECES
        ]  # fmt: skip
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
        self._send(200, "text/event-stream", "".join(lines).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def speaking() -> Iterator[str]:
    """An endpoint that says the same line to everybody."""
    Endpoint.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
