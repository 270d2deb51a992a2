"""Why a server cannot be reached, in a sentence that names the cause; redirects are followed only where it is safe."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import httpx2
import pytest
from faulty_server import Behave, Fault, FaultyServer
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import APIConnectionError, APIStatusError

from harness.errors import ConfigError, UnavailableError
from harness.models.endpoint import connecting
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.chat_client import ChatClient, read_body
from harness.models.endpoint.connecting import failure, list_models, redirected
from harness.models.endpoint.queue import RequestQueue

CHECK = "check address, model name and key"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
        for variable in (name, name.lower()):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-1")


def calls(*texts: str) -> list[ChatCall]:
    chats = [[{"role": "user", "content": text}] for text in texts]
    return [ChatCall(body={"model": "m", "messages": chat, "max_tokens": 9}) for chat in chats]


def queue(url: str, **options: Any) -> RequestQueue:
    return RequestQueue(ChatClient(url=url, model="m", **{"timeout_s": 5.0, "max_retries": 0} | options), purpose="t")


def ask(url: str, **options: Any) -> ChatResult:
    return queue(url, **options).ask(calls("Where?"))[0]


def refusal(url: str) -> str:
    with pytest.raises(UnavailableError) as caught:
        ask(url, max_retries=2)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fault", "told", "is_checked"),
    [
        (Fault(kind="status", status=401, message="Incorrect API key: sk-very-secret-1."), "refuses the key", True),
        (Fault(kind="status", status=403, message="Region."), "Region", True),
        (Fault(kind="status", status=404, message="No m."), "No m", True),
        (Fault(kind="status", status=402, message="Pay."), "Pay", False),
        (Fault(kind="status", status=429, code="insufficient_quota", message="Pay."), "no credit left: Pay", False),
        (Fault(kind="status", status=429, headers={"retry-after": "9999"}, message="Wait."), "left alone", False),
    ],
)  # fmt: skip
def test_what_stops_everything_is_told_with_advice_only_where_it_helps(
    fault: Fault, told: str, is_checked: bool
) -> None:
    with FaultyServer(lambda body, n: fault) as server:
        sentence = refusal(server.url)
    assert told in sentence
    assert (CHECK in sentence) == is_checked
    assert "secret" not in sentence


def test_calls_that_fail_keep_the_server_s_own_words() -> None:
    too_long = Fault(kind="status", status=400, message="This model's maximum context length is 4096 tokens.")
    with FaultyServer(lambda body, n: too_long) as server:
        assert ask(server.url).error == "status 400: This model's maximum context length is 4096 tokens."
        server.behave = lambda body, n: Fault(kind="status", status=500, body=b"<html><p>Out of memory</p></html>")
        assert ask(server.url).error == "status 500: Out of memory"


def test_eight_failures_in_a_row_end_the_run_with_the_reason_and_no_idle_advice() -> None:
    fault = Fault(kind="status", status=400, message="The prompt is too long.")
    with (
        FaultyServer(lambda body, n: fault) as server,
        pytest.raises(UnavailableError, match="too long; run again") as caught,
    ):
        queue(server.url).ask(calls(*map(str, range(12))))
    assert CHECK not in str(caught.value)


def test_questions_that_always_fail_among_others_are_failed_and_stop_nothing() -> None:
    def behave(body: dict[str, Any], n: int) -> Fault | None:
        return Fault(kind="status", status=500) if body["messages"][0]["content"] > "q10" else None

    with FaultyServer(behave) as server:
        found = queue(server.url, max_retries=1, rng=random.Random(0)).ask(calls(*(f"q{n}" for n in range(29, 9, -1))))
    assert [result.answer is None for result in found] == [True] * 19 + [False]


def test_providers_that_fail_inside_every_answer_are_asked_about_many_questions_first() -> None:
    inside = Fault(kind="choice", choice={"error": {"message": "overloaded"}})
    asked = calls(*map(str, range(80)))
    with FaultyServer(lambda body, n: inside) as server:
        one = queue(server.url)
        assert {result.answer for result in one.ask(asked[:30])} == {None}
        with pytest.raises(UnavailableError, match="64 calls in a row failed, the last with the provider failed"):
            one.ask(asked[30:])


def test_an_address_without_a_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    assert f"it refuses the connection; {CHECK}" in refusal(url)
    assert f"its name is not known; {CHECK}" in refusal("http://nowhere.invalid/v1")
    assert "must be an address such as" in refusal("http://[::1/v1")
    monkeypatch.setenv("HTTP_PROXY", url)
    assert "through the proxy in HTTP_PROXY" in refusal("http://nowhere.invalid/v1")


@pytest.mark.parametrize(
    ("proxy", "told"),
    [("socks5://127.0.0.1:1", "pip install socksio"), ("gopher://user:word@127.0.0.1:1", "must be a proxy such as")],
)
def test_a_proxy_that_cannot_be_used_is_a_sentence(monkeypatch: pytest.MonkeyPatch, proxy: str, told: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    sentence = refusal("http://nowhere.invalid/v1")
    assert "`ALL_PROXY`" in sentence
    assert told in sentence
    assert "word" not in sentence


@pytest.mark.parametrize("key", ["sk-caf\u00e9", "two words", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_not_sent(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="`OPENAI_API_KEY` must hold a key"):
        ask("http://nowhere.invalid/v1")


def test_broken_certificates_and_proxies_are_named() -> None:
    def chained(cause: BaseException) -> BaseException:
        outer = RuntimeError("outer")
        outer.__cause__ = cause
        return outer

    untrusted = ssl.SSLCertVerificationError("x")
    untrusted.verify_message = "self-signed certificate"
    assert failure(chained(untrusted)) == (
        "its certificate is not accepted: self-signed certificate",
        "give its authority's certificate in SSL_CERT_FILE",
    )
    assert "no TLS" in failure(chained(ssl.SSLError("wrong version number")))[0]
    assert failure(chained(type("ProxyError", (Exception,), {})()))[1].startswith("check the proxy")
    assert failure(chained(type("ReadError", (Exception,), {})())) == ("the connection broke (ReadError)", "")


def test_models_that_cannot_be_listed_are_told_with_advice_only_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = httpx2.Request("GET", "https://localhost/v1/models")
    untrusted = APIConnectionError(request=asked)
    untrusted.__cause__ = ssl.SSLCertVerificationError("x")
    untrusted.__cause__.verify_message = "self-signed certificate"
    statuses = {n: APIStatusError("No.", response=httpx2.Response(n, request=asked), body=None) for n in (401, 500)}
    told = {untrusted: "certificate in SSL_CERT_FILE", statuses[401]: "; check address and key", statuses[500]: "500"}
    for fault, ending in told.items():
        monkeypatch.setattr(connecting, "_get", Mock(side_effect=fault))
        with pytest.raises(UnavailableError) as caught:
            list_models("https://localhost/v1", key_variable="OPENAI_API_KEY")
        assert str(caught.value).endswith(ending)


def moving(location: Callable[[FaultyServer], str], status: int) -> tuple[FaultyServer, Behave]:
    server = FaultyServer()

    def behave(body: dict[str, Any], n: int) -> Fault | None:
        return Fault(kind="status", status=status, headers={"location": location(server)}) if n == 0 else None

    server.behave = behave
    return server, behave


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_moved_within_its_host_is_followed_with_the_whole_call(status: int) -> None:
    server, _ = moving(lambda server: "/v2/chat/completions/", status)
    with server:
        assert ask(server.url).answer is not None
        assert server.sent[0] == server.sent[1]
        assert server.keys == ["bearer sk-very-secret-1"] * 2


def test_nothing_is_sent_to_another_host() -> None:
    with FaultyServer() as other:
        server, _ = moving(lambda server: other.url.replace("127.0.0.1", "localhost") + "/chat/completions", 308)
        with server:
            assert "another host, which is sent neither key nor text; name that address" in refusal(server.url)
        assert other.sent == []


def test_redirects_that_are_not_followed_say_why() -> None:
    server, _ = moving(lambda server: "/login?token=abc", 302)
    with server:
        sentence = refusal(server.url)
    assert "/login, which is no address of /chat/completions" in sentence
    assert "abc" not in sentence
    server, _ = moving(lambda server: "/v1/chat/completions", 303)
    with server:
        assert "which asks for no second call" in refusal(server.url)
    server = FaultyServer(
        lambda body, n: Fault(kind="status", status=308, headers={"location": "/v1/chat/completions"})
    )
    with server:
        assert "in circles" in refusal(server.url)
        assert len(server.sent) < 8


@pytest.mark.parametrize(
    ("url", "location", "is_followed"),
    [
        ("http://a/v1/chat/completions", "https://a/v1/chat/completions", True),
        ("http://a:80/v1/chat/completions", "https://A/v1/chat/completions", True),
        ("https://a/v1/chat/completions", "http://a/v1/chat/completions", False),
        ("https://a/v1/chat/completions", "https://a:8443/v1/chat/completions", False),
        ("https://a/v1/chat/completions", "//b/v1/chat/completions", False),
        ("https://a/v1/chat/completions", "https://a@b/v1/chat/completions", False),
        ("https://a/v1/chat/completions", "", True),
        ("https://a/v1/chat/completions", "file:///v1/chat/completions", False),
        ("https://a/v1/chat/completions", "https://[a/v1/chat/completions", False),
    ],
)
def test_only_the_same_host_with_no_less_safety_is_followed(url: str, location: str, is_followed: bool) -> None:
    if is_followed:
        assert redirected(url, location)
        return
    with pytest.raises(ValueError, match=r"redirects|Invalid"):
        redirected(url, location)


DEEP = b"[" * 100_000
NESTED = b'{"choices": [{"message": {"content": "x", "y": ' + b"[" * 200 + b"]" * 200 + b"}}]}"


@pytest.mark.parametrize("body", [DEEP, NESTED, b"9" * 5000, b'{"choices": [1]}', b"\xff", b"", b'"\\ud800"'])
def test_a_body_that_is_no_answer_is_a_failed_call(body: bytes) -> None:
    with FaultyServer(lambda _, n: Fault(kind="raw", body=body)) as server:
        assert ask(server.url).error.startswith("an answer")
        server.behave = lambda _, n: Fault(kind="status", status=400, body=body)
        assert ask(server.url).error.startswith("status 400")


def test_an_error_inside_an_answer_is_tried_again() -> None:
    inside = Fault(kind="choice", choice={"finish_reason": "error", "error": {"message": "Provider returned error"}})
    with FaultyServer(lambda body, n: inside if n < 2 else None) as server:
        found = ask(server.url, max_retries=2)
        assert (found.n_attempts, found.error) == (3, "")
        server.behave = lambda body, n: inside
        assert ask(server.url).error == "the provider failed: Provider returned error"


@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_answer_or_a_fault(content: bytes) -> None:
    answer, fault = read_body(content)
    assert (answer is None) != (fault is None)
