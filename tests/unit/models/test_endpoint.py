"""A model behind an endpoint: replies in order, each with how it ended, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from faulty_server import Fault, FaultyServer

from harness.errors import UnavailableError
from harness.models.endpoint import EndpointModel
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import ContinuationRequest, LanguageModel, OptionRequest, Reply, ReplyRequest
from harness.types import Decoding

DECODING = Decoding(max_new_tokens=7, temperature=0.5, top_p=0.8, seed=3, stop=("END",))


def behave(body: dict[str, Any], n: int) -> Fault:
    """Answers by what the last message says."""
    said = body["messages"][-1]["content"]
    if said.startswith("status "):
        return Fault(kind="status", status=int(said.removeprefix("status ")))
    if said == "nothing":
        return Fault(kind="empty_choices")
    message = {"role": "assistant", "content": None if said == "mute" else f" re: {said} "}
    return Fault(kind="choice", choice={"finish_reason": "length" if said == "long" else "stop", "message": message})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with FaultyServer(behave) as server:
        yield server


def request(text: str, **more: Any) -> ReplyRequest:
    return ReplyRequest(key=text, messages=[{"role": "user", "content": text}], **more)


def model(server: FaultyServer) -> EndpointModel:
    return EndpointModel(RequestQueue(ChatClient(url=server.url, model="m", max_retries=0), purpose="t", reuses=False))


def test_replies_come_in_order_with_how_they_ended(server: FaultyServer) -> None:
    seen: list[Reply] = []
    replies = model(server).generate(
        [request("a", tag="v"), request("long"), request("mute")], decoding=DECODING, on_reply=seen.append
    )
    assert [(r.key, r.text, r.finish_reason, r.n_tokens, r.tag) for r in replies] == [
        ("a", "re: a", "stop", 1, "v"),
        ("long", "re: long", "length", 1, ""),
        ("mute", "", "error", 1, ""),
    ]
    assert sorted(r.key for r in seen) == ["a", "long", "mute"]
    body = next(b for b in server.sent if b["messages"][-1]["content"] == "a")
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["stop"]) == (7, 0.5, 0.8, ["END"])
    assert set(server.keys) == {"bearer secret"}


def test_every_row_and_draw_has_its_own_seed_and_keeps_it(server: FaultyServer) -> None:
    for _ in range(2):
        model(server).generate([request("a"), request("a", draw=1), request("b")], decoding=DECODING)
    seeds = [b["seed"] for b in server.sent]
    assert len(set(seeds[:3])) == 3
    assert sorted(seeds[:3]) == sorted(seeds[3:])


@pytest.mark.parametrize("text", ["status 400", "status 429", "status 500", "nothing"])
def test_a_row_that_fails_is_missing_and_the_others_come(server: FaultyServer, text: str) -> None:
    failed, fine = model(server).generate([request(text), request("b")], decoding=DECODING)
    assert (failed.finish_reason, failed.text, failed.n_tokens) == ("error", "", None)
    assert failed.error
    assert fine.text == "re: b"


def test_what_it_lacks_is_visible_before_and_raises_when_called(server: FaultyServer) -> None:
    asked = model(server)
    assert isinstance(asked, LanguageModel)
    assert asked.supports == {"generate"}
    with pytest.raises(UnavailableError, match="continuation_logprobs"):
        asked.continuation_logprobs([ContinuationRequest(key="k", messages=[], reply="x")])
    with pytest.raises(UnavailableError, match="option_probabilities"):
        asked.option_probabilities([OptionRequest(key="k", messages=[], prefix="", options=("1", "2"))])
    assert server.sent == []
