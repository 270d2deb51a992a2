"""The service on a real socket with a tiny model: what clients get, and what they are told when something is wrong."""

from __future__ import annotations

import gzip
import json
import math
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from servers import Running, Serve, alter, wait_until_idle

from harness.models.chat_templates import render
from harness.models.endpoint import EndpointModel
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.local import LocalModel
from harness.models.protocol import OptionRequest, ReplyRequest
from harness.registry import resolve
from harness.serving.limits import ServingLimits
from harness.store.tracking import Tracking
from harness.types import BaseModel, Decoding

CHAT = [{"role": "user", "content": "Where were you?"}]
# What clients send by default and asks for nothing.
NEUTRAL: dict[str, Any] = {
    "frequency_penalty": 0, "presence_penalty": 0.0, "repetition_penalty": 1, "response_format": {"type": "text"},
    "user": "me", "tools": [], "tool_choice": "none", "functions": [], "function_call": "auto", "logit_bias": {},
    "store": False, "metadata": {"a": "b"}, "service_tier": "auto", "top_k": -1, "min_p": 0, "modalities": ["text"],
    "parallel_tool_calls": True, "logprobs": None, "novel": None, "stream_options": None, "reasoning_effort": None,
}  # fmt: skip
MODELS = ("base", "film/1", "film@candidate", "dora/1")


def _body(**more: Any) -> dict[str, Any]:
    return {"model": "base", "messages": CHAT, "max_tokens": 24, "seed": 3, **more}


def _events(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def _error(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", MODELS)
def test_the_official_client_gets_the_same_reply_whole_and_streamed(server: Running, model: str) -> None:
    with server.client() as client:
        body: dict[str, Any] = _body(model=model, n=2, temperature=0.9)
        whole = client.chat.completions.create(**body)
        texts = ["", ""]
        ends: list[str | None] = [None, None]
        usage = None
        for chunk in client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert [choice.message.content for choice in whole.choices] == texts
    assert [choice.finish_reason for choice in whole.choices] == ends
    assert usage == whole.usage
    assert texts[0] != texts[1]


def test_a_variant_says_what_it_says_in_the_harness(server: Running, base: BaseModel, registry: Tracking) -> None:
    local = LocalModel.load(base)
    name = local.add_adapter(resolve(registry, "film/1"))
    request = ReplyRequest(key="p", messages=CHAT, adapter=name)
    [expected] = local.generate([request], decoding=Decoding(max_new_tokens=24, temperature=0))
    found = server.post(**_body(model="film/1", temperature=0)).json()["choices"][0]
    assert found["message"]["content"].strip() == expected.text
    assert found["finish_reason"] == expected.finish_reason


def test_another_screentest_speaks_to_it(server: Running) -> None:
    client = ChatClient(url=f"{server.url}/v1", model="film/1", key_variable="UNSET_KEY")
    model = EndpointModel(RequestQueue(client, purpose="t", reuses=False))
    requests = [ReplyRequest(key=f"p{i}", messages=CHAT, draw=i) for i in range(6)]
    decoding = Decoding(max_new_tokens=12)
    replies = model.generate(requests, decoding=decoding)
    assert {reply.finish_reason for reply in replies} <= {"stop", "length"}
    assert model.generate(requests, decoding=decoding) == replies


def test_without_a_seed_replies_differ_and_length_defaults_to_64(server: Running) -> None:
    body = {"model": "base", "messages": CHAT, "temperature": 1.5}
    found = [server.post(**body).json() for _ in range(4)]
    assert len({one["choices"][0]["message"]["content"] for one in found}) > 1
    lengths = [one["usage"]["completion_tokens"] for one in found]
    assert max(lengths) <= 64
    for one, length in zip(found, lengths, strict=True):
        ends = {"stop"} if length < 64 else {"stop", "length"}  # an end token may come as the 64th
        assert one["choices"][0]["finish_reason"] in ends


@pytest.mark.parametrize("as_list", [True, False])
def test_a_stop_string_is_neither_in_the_reply_nor_in_any_chunk(server: Running, as_list: bool) -> None:
    asked = [_body(seed=seed, max_tokens=60) for seed in range(20)]
    said = ((body, server.post(**body).json()["choices"][0]["message"]["content"]) for body in asked)
    body, free, stop = next(
        (body, text, letter)
        for body, text in said
        for at, letter in enumerate(text)
        if letter.isprintable() and letter.isascii() and text.find(letter) == at >= 3
    )
    body["stop"] = [stop, "never said"] if as_list else stop
    whole = server.post(**body).json()["choices"][0]
    assert whole["message"]["content"] == free.split(stop)[0]
    assert whole["finish_reason"] == "stop"
    events = _events(server.post(**body, stream=True))
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(pieces) == free.split(stop)[0]
    assert all("usage" not in event for event in events)


def test_logprobs_are_exact_and_cover_every_token(server: Running, base: BaseModel) -> None:
    body = _body(logprobs=True, top_logprobs=20, temperature=1.3, top_p=0.7)
    whole = server.post(**body).json()
    content = whole["choices"][0]["logprobs"]["content"]
    assert len(content) == whole["usage"]["completion_tokens"]
    text = b"".join(bytes(entry["bytes"]) for entry in content if entry["token"] != "<|im_end|>")
    assert text.decode("utf-8", "replace") == whole["choices"][0]["message"]["content"]
    streamed: list[Any] = []
    for event in _events(server.post(**body, stream=True)):
        found = event["choices"][0]["logprobs"]
        streamed += found["content"] if found else []
    assert streamed == content
    for entry in content:
        best = [other["logprob"] for other in entry["top_logprobs"]]
        assert len(best) == 20
        assert best == sorted(best, reverse=True)
        assert entry["logprob"] <= best[0] <= 0


def test_a_forced_position_gives_the_closed_set_probabilities_of_a_judge(server: Running, base: BaseModel) -> None:
    local = LocalModel.load(base)
    options = tuple(chr(code) for code in range(33, 127))
    [exact] = local.option_probabilities([OptionRequest(key="k", messages=CHAT, prefix="Score: ", options=options)])
    chat = [*CHAT, {"role": "assistant", "content": "Score: "}]
    body = _body(messages=chat, max_tokens=1, logprobs=True, top_logprobs=20)
    forced = {"continue_final_message": True, "add_generation_prompt": False}
    [entry] = server.post(**body, **forced).json()["choices"][0]["logprobs"]["content"]
    seen = {other["token"]: other["logprob"] for other in entry["top_logprobs"] if other["token"] in options}
    assert len(seen) >= 2
    total = math.fsum(math.exp(value) for value in seen.values())
    by_option = dict(zip(options, exact.probabilities, strict=True))
    among = math.fsum(by_option[token] for token in seen)
    for token, value in seen.items():
        assert math.exp(value) / total == pytest.approx(by_option[token] / among, abs=1e-4)


def test_roles_parts_and_neutral_fields_are_taken(server: Running) -> None:
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    other = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    found = [server.post(**_body(messages=chat), **extra) for chat, extra in ((plain, {}), (other, NEUTRAL))]
    assert found[0].json()["choices"] == found[1].json()["choices"]


def test_an_answer_echoed_whole_is_an_earlier_turn(server: Running) -> None:
    with server.client() as client:
        said = client.chat.completions.create(**_body()).choices[0].message
        turns = [*CHAT, said.model_dump(), {"role": "user", "content": "And then?", "name": "Ann"}]
        again = client.chat.completions.create(**_body(messages=turns))
    plain = [*CHAT, {"role": "assistant", "content": said.content}, {"role": "user", "content": "And then?"}]
    assert (
        again.choices[0].message.content
        == server.post(**_body(messages=plain)).json()["choices"][0]["message"]["content"]
    )
    assert server.post(**_body(messages=[*CHAT, {"role": "assistant", "content": None}, *CHAT])).status_code == 200


@pytest.mark.parametrize(("body", "status"), [(None, 200), (b"no gzip", 400), ("half", 400), ("large", 413)])
def test_a_packed_body_is_unpacked_within_the_limit(server: Running, body: Any, status: int) -> None:
    packed = gzip.compress(json.dumps(_body()).encode())
    content = {None: packed, "half": packed[:-9], "large": gzip.compress(b" " * 1_100_000)}.get(body, body)
    headers = {"Content-Encoding": "gzip"}
    found = httpx.post(f"{server.url}/v1/chat/completions", content=content, headers=headers, timeout=None)
    assert found.status_code == status
    other = httpx.post(f"{server.url}/v1/chat/completions", content=packed, headers={"Content-Encoding": "br"})
    assert (other.status_code, _error(other)["code"]) == (400, "unknown_encoding")


def test_pages_of_a_named_origin_may_ask_and_others_may_not(serve: Serve) -> None:
    with serve(cors=["http://page.test"]) as found:
        for origin, allowed in (("http://page.test", "http://page.test"), ("http://other.test", None)):
            said = httpx.get(f"{found.url}/v1/models", headers={"Origin": origin})
            assert said.headers.get("access-control-allow-origin") == allowed


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 1e308}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.0001}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 3}, None),
        ({"stream_options": {"include_usage": True}}, None),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages.0.tool_calls"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"7": 1}}, "logit_bias"),
        ({"top_k": 5}, "top_k"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"novel": 1}, "novel"),
        ({"max_completion_tokens": 7}, None),
        ({"continue_final_message": True}, None),
    ],
)
def test_a_wrong_value_is_named(server: Running, change: dict[str, Any], param: str | None) -> None:
    response = server.post(**{**_body(), **change})
    error = _error(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"model": "base"',
        b'{"a":' * 5000,
        b'{"model":"base","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"base","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    ],
)
def test_what_is_no_request_is_refused(server: Running, content: bytes) -> None:
    response = server.raw(content)
    assert response.status_code == 400
    _error(response)


def test_unknown_models_addresses_and_methods_and_an_adapter_of_another_base_are_refused(server: Running) -> None:
    for model in ("nobody@champion", "film/99", "film@nobody", "gpt-4o", "../../etc/passwd", "'; DROP TABLE--/1"):
        response = server.post(**_body(model=model))
        assert (response.status_code, _error(response)["code"]) == (404, "model_not_found")
    response = server.post(**_body(model="stranger/1"))
    assert (response.status_code, _error(response)["code"]) == (400, "base_mismatch")
    assert _error(httpx.get(f"{server.url}/v1/nothing"))
    response = httpx.get(f"{server.url}/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    with server.client() as client, pytest.raises(openai.NotFoundError, match="film/99"):
        client.chat.completions.create(**_body(model="film/99"))


def test_a_chat_without_room_is_refused_and_one_that_just_fits_is_answered(server: Running) -> None:
    chat = [{"role": "user", "content": "x" * 600}]
    response = server.post(**_body(messages=chat))
    assert (response.status_code, _error(response)["code"]) == (400, "context_length_exceeded")
    n_other = len(render(server.service.model.tokenizer, [{"role": "user", "content": ""}]))
    chat = [{"role": "user", "content": "x" * (512 - 3 - n_other)}]
    response = server.post(model="base", messages=chat, seed=1)  # no cap is named: what room there is
    assert response.json()["usage"]["total_tokens"] <= 512
    assert server.post(**_body(messages=chat, max_tokens=9)).json()["usage"]["completion_tokens"] <= 3


def test_a_megabyte_is_refused_whether_or_not_its_length_is_said(server: Running) -> None:
    chat = [{"role": "user", "content": "x" * 1_000_000}]
    response = server.post(**_body(messages=chat))  # under the limit of bytes, far over that of tokens
    assert (response.status_code, _error(response)["code"]) == (400, "context_length_exceeded")
    response = server.raw(b"x" * 1_100_000)
    assert (response.status_code, _error(response)["code"]) == (413, "request_too_large")
    parts = (b"x" * 100_000 for _ in range(12))
    response = httpx.post(f"{server.url}/v1/chat/completions", content=parts, timeout=None)
    assert response.status_code == 413


def test_an_altered_adapter_is_refused_and_the_server_lives_on(serve: Serve, registry: Tracking) -> None:
    file = Path(resolve(registry, "film/2").path) / "adapter_model.safetensors"
    with serve() as fresh:
        alter(file)
        try:
            response = fresh.post(**_body(model="film/2"))
            assert (response.status_code, _error(response)["code"]) == (503, "adapter_altered")
            assert response.headers["x-should-retry"] == "false"
            assert fresh.post(**_body(model="film/1")).status_code == 200
        finally:
            alter(file)
        assert fresh.post(**_body(model="film/2")).status_code == 200


def test_a_key_is_asked_of_every_client_but_not_for_health(serve: Serve) -> None:
    with serve(key="secret", limits=ServingLimits(per_minute=3)) as locked:
        assert locked.post(**_body()).status_code == 401
        assert httpx.get(f"{locked.url}/v1/models").status_code == 401
        assert httpx.get(f"{locked.url}/health").status_code == 200
        with locked.client() as client:
            for _ in range(3):
                client.chat.completions.create(**_body(max_tokens=1))
            with pytest.raises(openai.RateLimitError) as caught:
                client.models.list()
        assert int(caught.value.response.headers["retry-after"]) >= 1


# ── people who leave, and what is written down ───────────────────────────────────────────────────────────────────────


def test_a_full_server_says_when_to_come_again_and_then_answers(serve: Serve) -> None:
    with serve(limits=ServingLimits(max_batch=4, max_queue=0, max_tokens=200)) as full:
        long = _body(n=4, max_tokens=200, stream=True)
        with httpx.stream("POST", f"{full.url}/v1/chat/completions", json=long, timeout=None) as busy:
            lines = busy.iter_lines()
            assert next(lines).startswith("data: ")
            refused = full.post(**_body(n=4))
            assert (refused.status_code, _error(refused)["code"]) == (429, "queue_full")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert full.post(**_body(n=4)).status_code == 200


def address(server: Running) -> tuple[str, str]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, port


def test_who_hangs_up_frees_the_row(server: Running) -> None:
    bodies = [
        _body(max_tokens=200, seed=seed, stream=is_streamed) for seed in range(4) for is_streamed in (True, False)
    ]
    for body in bodies:
        data = json.dumps(body).encode()
        with socket.create_connection(address(server)) as line:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
            line.sendall(head.encode() + data)
            if body["stream"]:
                line.recv(10)
    wait_until_idle(server)
    assert not server.service.engine._tickets
    assert any(record.get("hung_up") for record in server.records)
    assert server.post(**_body()).status_code == 200


def test_the_models_are_those_of_this_base(server: Running) -> None:
    with server.client() as client:
        names = {model.id for model in client.models.list()}
        assert client.models.retrieve("film/1").id == "film/1"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("stranger/1")
    assert names == {"base", "film/1", "film/2", "film@candidate", "dora/1", "dora@candidate"}


def test_named_variants_are_the_only_ones(serve: Serve) -> None:
    with serve(names=["film/1"]) as narrow:
        assert [model["id"] for model in httpx.get(f"{narrow.url}/v1/models").json()["data"]] == ["film/1"]
        assert narrow.post(**_body(model="film/1")).status_code == 200
        for other in ("base", "film/2", "dora/1"):
            assert narrow.post(**_body(model=other)).status_code == 404


@pytest.mark.parametrize("with_text", [False, True])
def test_the_log_holds_what_was_said_only_when_asked(serve: Serve, with_text: bool) -> None:
    with serve(with_text=with_text) as logged:
        response = httpx.post(
            f"{logged.url}/v1/chat/completions", json=_body(), headers={"X-Request-Id": "trace-7"}, timeout=None
        )
        assert response.headers["x-request-id"] == "trace-7"
        assert response.json()["id"] == "chatcmpl-trace-7"
        end = time.monotonic() + 10
        while not any(record["path"] != "/health" for record in logged.records) and time.monotonic() < end:
            time.sleep(0.01)
    [record] = [record for record in logged.records if record["path"] != "/health"]
    usage = response.json()["usage"]
    assert (record["request_id"], record["status"], record["model"]) == ("trace-7", 200, "base")
    assert record["completion_tokens"] == usage["completion_tokens"]
    assert ("Where were you?" in json.dumps(record)) == with_text
    assert ("replies" in record) == with_text
