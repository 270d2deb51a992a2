"""All that travels between a rater's browser and the server, kept to be searched."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response, WebSocket


class Wire:
    """All traffic of a page, as bytes."""

    def __init__(self, page: Page) -> None:
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.frames: list[bytes] = []  # one entry per websocket frame from the server
        page.on("websocket", self._listen)
        page.on("request", lambda r: self.sent.append(f"{r.url} {r.headers} {r.post_data or ''}".encode()))
        page.on("response", self._keep)
        page.on("console", lambda message: self.received.append(message.text.encode()))

    def _listen(self, socket: WebSocket) -> None:
        self.sent.append(socket.url.encode())
        socket.on("framesent", lambda data: self.sent.append(_bytes(data)))
        socket.on("framereceived", lambda data: self.frames.append(_bytes(data)))
        socket.on("framereceived", lambda data: self.received.append(_bytes(data)))

    def _keep(self, response: Response) -> None:
        self.received.append(f"{response.url} {response.headers}".encode())
        if not re.search(r"/static/(js|css|media)/", response.url):  # Streamlit's own files
            try:
                self.received.append(response.body())
            except Exception as err:  # noqa: BLE001  # a response without body says so by an error of the browser
                self.received.append(str(err).encode())

    def everything(self) -> bytes:
        return b"\n".join(self.received + self.sent)


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def forms(secret: str) -> list[bytes]:
    """How a text may stand in traffic."""
    plain = secret.encode()
    return [plain, plain.hex().encode(), base64.b64encode(plain).rstrip(b"=")]
