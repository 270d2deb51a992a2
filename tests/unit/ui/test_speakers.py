"""Lines from an endpoint as they come, and a clear word where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_endpoint import PIECES, Endpoint, speaking

from harness.doors.answers import part_thinking
from harness.errors import UnavailableError
from harness.models.bases import resolve_base
from harness.models.chat_templates import DIALOGUE_SYSTEM
from harness.types import Decoding, Message
from harness.ui.speakers import LocalSpeakers, ServedSpeakers, find_endpoint

TURNS = (Message(role="user", content="Where were you?", name="BEN"),)


@pytest.fixture
def endpoint() -> Iterator[str]:
    with speaking() as url:
        yield url


def test_a_line_comes_in_pieces_and_is_asked_with_the_shared_system_prompt(endpoint: str) -> None:
    speakers = ServedSpeakers(endpoint)
    assert speakers.names() == ["base", "film@best"]
    assert tuple(speakers.stream("film@best", TURNS, system=DIALOGUE_SYSTEM, n_tokens=64, seed=3)) == PIECES
    (asked,) = Endpoint.asked
    assert asked["max_tokens"] == 64
    assert [m["role"] for m in asked["messages"]] == ["system", "user"]


def test_a_refusal_is_one_sentence(endpoint: str) -> None:
    with pytest.raises(UnavailableError, match="no such variant"):
        list(ServedSpeakers(endpoint).stream("full", TURNS, system=DIALOGUE_SYSTEM, n_tokens=64, seed=3))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": [1]}', b'{"data": {"a": 1}}', b"[" * 10_000])
def test_a_list_of_models_that_is_none_is_a_sentence(
    endpoint: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "listed", body)
    with pytest.raises(UnavailableError, match="must list its models, got an answer that is no list"):
        ServedSpeakers(endpoint).names()


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

    from harness.models.chat_templates import chat_messages
    from harness.models.local import LocalModel
    from harness.models.protocol import ReplyRequest
    from harness.store.tracking import Tracking

    folder = tiny_checkpoint(tmp_path / "tiny")
    speakers = LocalSpeakers(Tracking(), base=str(folder))
    assert speakers.names() == ["base"]
    model = LocalModel.load(resolve_base(str(folder)))
    for seed in range(3):
        pieces = list(speakers.stream("base", TURNS, system=DIALOGUE_SYSTEM, n_tokens=24, seed=seed))
        request = ReplyRequest(key="chat", messages=chat_messages(TURNS))
        (whole,) = model.generate([request], decoding=Decoding(max_new_tokens=24, seed=seed))
        assert part_thinking("".join(pieces)).text == whole.text
        assert len([piece for piece in pieces if piece]) > 3
    half = speakers.stream("base", TURNS, system=DIALOGUE_SYSTEM, n_tokens=24, seed=0)
    next(half)
    half.close()
    assert "".join(speakers.stream("base", TURNS, system=DIALOGUE_SYSTEM, n_tokens=24, seed=0))
