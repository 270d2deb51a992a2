"""The endpoint client against a small real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from harness.errors import UnavailableError
from harness.models.endpoint import EndpointModel
from harness.models.protocol import ContinuationRequest, LanguageModel, OptionRequest, Reply, ReplyRequest
from harness.types import Decoding

DECODING = Decoding(max_new_tokens=7, temperature=0.5, top_p=0.8, seed=3, stop=("END",))


class _Server(ThreadingHTTPServer):
    """Answers by what the last message says; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[dict[str, Any]] = []
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.sent.append(body)
        self.server.keys.append(self.headers["Authorization"])
        said = body["messages"][-1]["content"]
        status = int(said.removeprefix("status ")) if said.startswith("status ") else 200
        answer: dict[str, Any] = {"error": {"message": "no"}}
        if status == 200:
            choice = {
                "index": 0,
                "finish_reason": "length" if said == "long" else "stop",
                "message": {"role": "assistant", "content": None if said == "mute" else f" re: {said} "},
            }
            answer = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [] if said == "nothing" else [choice],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            }
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _request(text: str, **more: Any) -> ReplyRequest:
    return ReplyRequest(key=text, messages=[{"role": "user", "content": text}], **more)


def _model(server: _Server) -> EndpointModel:
    return EndpointModel(base_url=server.url, model="m", n_retries=0)


def test_replies_come_in_order_with_how_they_ended(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    seen: list[Reply] = []
    replies = _model(server).generate(
        [_request("a", tag="v"), _request("long"), _request("mute")], decoding=DECODING, on_reply=seen.append
    )
    assert [(r.key, r.text, r.finish_reason, r.n_tokens, r.tag) for r in replies] == [
        ("a", "re: a", "stop", 4, "v"),
        ("long", "re: long", "length", 4, ""),
        ("mute", "", "error", 4, ""),
    ]
    assert sorted(r.key for r in seen) == ["a", "long", "mute"]
    body = next(b for b in server.sent if b["messages"][-1]["content"] == "a")
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["stop"]) == (7, 0.5, 0.8, ["END"])
    assert set(server.keys) == {"Bearer secret"}


def test_every_row_and_draw_has_its_own_seed_and_keeps_it(server: _Server) -> None:
    model = _model(server)
    for _ in range(2):
        model.generate([_request("a"), _request("a", draw=1), _request("b")], decoding=DECODING)
    seeds = [b["seed"] for b in server.sent]
    assert len(set(seeds[:3])) == 3
    assert sorted(seeds[:3]) == sorted(seeds[3:])


@pytest.mark.parametrize("text", ["status 400", "status 429", "status 500", "nothing"])
def test_a_row_that_fails_is_missing_and_the_others_come(server: _Server, text: str) -> None:
    failed, fine = _model(server).generate([_request(text), _request("b")], decoding=DECODING)
    assert (failed.finish_reason, failed.text, failed.n_tokens) == ("error", "", None)
    assert failed.error
    assert fine.text == "re: b"


@pytest.mark.parametrize(
    ("text", "reason"), [("status 401", "refuses the key in OPENAI_API_KEY"), ("status 404", "has no model `m`")]
)
def test_an_endpoint_that_cannot_be_used_says_so_without_the_key(
    server: _Server, text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with pytest.raises(UnavailableError, match=reason) as caught:
        _model(server).generate([_request(text)], decoding=DECODING)
    assert "secret" not in str(caught.value)


def test_an_address_where_nobody_listens_says_so() -> None:
    with _Server() as closed:
        url = closed.url
    with pytest.raises(UnavailableError, match="cannot be reached"):
        EndpointModel(base_url=url, model="m", n_retries=0).generate([_request("a")], decoding=DECODING)


def test_what_it_lacks_is_visible_before_and_raises_when_called(server: _Server) -> None:
    model = _model(server)
    assert isinstance(model, LanguageModel)
    assert model.supports == {"generate"}
    with pytest.raises(UnavailableError, match="continuation_logprobs"):
        model.continuation_logprobs([ContinuationRequest(key="k", messages=[], reply="x")])
    with pytest.raises(UnavailableError, match="option_probabilities"):
        model.option_probabilities([OptionRequest(key="k", messages=[], prefix="", options=("1", "2"))])
    assert server.sent == []
