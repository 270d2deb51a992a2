"""Lines from an endpoint as they come, and a clear word where there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UnavailableError
from harness.models.bases import resolve_base
from harness.types import Decoding, Message
from harness.ui.speakers import LocalSpeakers, ServedSpeakers, find_endpoint

TURNS = (Message(role="user", content="Where were you?", name="BEN"),)
PIECES = ("I was ", "out", ".")


class Endpoint(BaseHTTPRequestHandler):
    """Speaks as much of the OpenAI API as a chat needs."""

    asked: list[dict[str, Any]] = []  # noqa: RUF012  # of the test that is running

    def do_GET(self) -> None:
        body = {"object": "list", "data": [{"id": n, "object": "model", "created": 0} for n in ("base", "film@best")]}
        self._send(200, "application/json", json.dumps(body).encode())

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


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_line_comes_in_pieces_and_is_asked_with_the_shared_system_prompt(endpoint: str) -> None:
    speakers = ServedSpeakers(endpoint)
    assert speakers.names() == ["base", "film@best"]
    assert tuple(speakers.stream("film@best", TURNS, n_tokens=64, seed=3)) == PIECES
    (asked,) = Endpoint.asked
    assert asked["max_tokens"] == 64
    assert [m["role"] for m in asked["messages"]] == ["system", "user"]


def test_a_refusal_is_one_sentence(endpoint: str) -> None:
    with pytest.raises(UnavailableError, match="no such variant"):
        list(ServedSpeakers(endpoint).stream("full", TURNS, n_tokens=64, seed=3))


def test_a_named_endpoint_that_is_not_there_is_an_error_and_an_unnamed_one_is_not(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCREENTEST_SERVE_URL", endpoint)
    assert find_endpoint() == endpoint
    monkeypatch.setenv("SCREENTEST_SERVE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UnavailableError, match="does not answer"):
        find_endpoint()
    monkeypatch.delenv("SCREENTEST_SERVE_URL")
    monkeypatch.setattr("harness.ui.speakers.DEFAULT_URL", "http://127.0.0.1:9/v1")
    assert find_endpoint() is None


def test_without_an_endpoint_a_line_comes_in_pieces_too(tmp_path: Path) -> None:
    """The pieces are the reply that the model gives as a whole, and one who stops listening holds nobody up."""
    from fakes import tiny_checkpoint

    from harness.models.chat import chat_messages
    from harness.models.local import LocalModel
    from harness.models.protocol import ReplyRequest
    from harness.tracking import Tracking

    folder = tiny_checkpoint(tmp_path / "tiny")
    speakers = LocalSpeakers(Tracking(), base=str(folder))
    assert speakers.names() == ["base"]
    model = LocalModel.load(resolve_base(str(folder)))
    for seed in range(3):
        pieces = list(speakers.stream("base", TURNS, n_tokens=24, seed=seed))
        request = ReplyRequest(key="chat", messages=chat_messages(TURNS))
        (whole,) = model.generate([request], decoding=Decoding(max_new_tokens=24, seed=seed))
        assert "".join(pieces).strip() == whole.text
        assert len([piece for piece in pieces if piece]) > 3
    half = speakers.stream("base", TURNS, n_tokens=24, seed=0)
    next(half)
    half.close()
    assert "".join(speakers.stream("base", TURNS, n_tokens=24, seed=0))
