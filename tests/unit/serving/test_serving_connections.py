"""Raw sockets against the service: what comes late, what is not one request, who takes all connections."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import socket
import time
from collections.abc import Iterator
from unittest import mock

import h11
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Running, Serve

from harness.serving import logs
from harness.serving.connections import Crowd, _OneRequest
from harness.serving.limits import ServingLimits
from harness.serving.server import Server

TIMEOUT, MOST = 0.6, 8
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"
INNER = b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: inner\r\n\r\n"


@pytest.fixture(scope="module")
def strict(serve: Serve) -> Iterator[Running]:
    limits = ServingLimits(timeout=TIMEOUT, max_connections=MOST)
    with (
        mock.patch.object(logs, "SECONDS_BETWEEN_COUNTS", 0.5),
        serve(limits=limits, buffer=8192) as found,
    ):
        yield found


def dial(server: Running, *, buffer: int | None = None) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    line = socket.socket()
    line.settimeout(20)
    if buffer:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.connect((host, int(port)))
    return line


def all_of(line: socket.socket) -> bytes:
    """What the server says until it hangs up."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            said += part
    return said


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", said)]


def until_refused(server: Running, why: str, n: int = 1) -> None:
    """Wait until the log counts so many."""
    end = time.monotonic() + 15
    while sum(record.get("refused", {}).get(why, 0) for record in server.records) < n:
        assert time.monotonic() < end, [record for record in server.records if "refused" in record]
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"", []),
        (b"GET /v1/mod", [408]),
        (POST + b"X-A: ", [408]),
        (POST + b"Content-Length: 900\r\n\r\n{", [408]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", [408]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", [408]),
        (GET + b"\r\nGET /hea", [200, 408]),
        (GET + b"\r\n" + POST + b"Content-Length: 9\r\n\r\n{", [200, 408]),
        (POST + b"Content-Length: 99999999\r\n\r\n{", [413]),  # refused at once, and not listened to for long
    ],
)
def test_what_does_not_come_whole_ends(strict: Running, begun: bytes, status: list[int]) -> None:
    with dial(strict) as line:
        line.sendall(begun)
        began = time.monotonic()
        assert statuses(all_of(line)) == status
        assert time.monotonic() - began < TIMEOUT + 3


def test_a_drip_of_bytes_is_no_progress(strict: Running) -> None:
    for begun in (GET + b"X-A: ", POST + b"Transfer-Encoding: chunked\r\n\r\n", POST + b"Content-Length: 900\r\n\r\n"):
        with dial(strict) as line, contextlib.suppress(ConnectionError):
            line.sendall(begun)
            end, line_is_open = time.monotonic() + 10, True
            line.settimeout(0.05)
            while line_is_open and time.monotonic() < end:
                line.sendall(b"1\r\na\r\n" if b"chunked" in begun else b"a")
                with contextlib.suppress(TimeoutError):
                    line_is_open = not line.recv(100)
            assert not line_is_open


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(INNER), 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 45\r\n\r\n", 400),
        (b"Content-Length: 5, 45\r\n\r\n", 400),
        (b"Content-Length: +5\r\n\r\n", 400),
        (b"Content-Length: -5\r\n\r\n", 400),
        (b"Content-Length: 0x5\r\n\r\n", 400),
        (b"Content-Length : 5\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked, identity\r\n\r\n", 501),
        (b"Transfer-Encoding: xchunked\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"Host: other\r\nContent-Length: 5\r\n\r\n", 400),
        (b"X-A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"X-A: \0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_is_not_one_request_gets_one_answer_and_no_other_word(strict: Running, fields: bytes, status: int) -> None:
    with dial(strict) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(POST + fields + INNER)
        said = all_of(line)
    assert statuses(said) == [status]
    assert b"connection: close" in said.lower()
    assert b'"error"' in said


def test_http_1_0_with_chunks_is_refused(strict: Running) -> None:
    with dial(strict) as line:
        line.sendall(POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + INNER)
        assert statuses(all_of(line)) == [400]


def test_requests_in_a_row_are_answered_in_their_order(strict: Running) -> None:
    with dial(strict) as line:
        line.sendall((GET + b"\r\n") * 3 + GET.replace(b"health", b"nowhere") + b"Connection: close\r\n\r\n")
        assert statuses(all_of(line)) == [200, 200, 200, 404]


def test_a_reader_who_does_not_read_is_left(strict: Running) -> None:
    with dial(strict, buffer=4096) as line:
        line.sendall((GET + b"\r\n") * 3000)
        until_refused(strict, "slow_reader")
        assert 0 < len(statuses(all_of(line))) < 3000


def test_half_open_ones_make_room_for_who_asks(strict: Running) -> None:
    with contextlib.ExitStack() as stack:
        for i in range(5 * MOST):
            line = stack.enter_context(dial(strict))
            line.sendall(GET if i % 2 else POST + b"Content-Length: 9\r\n\r\n{")
        began = time.monotonic()
        assert httpx.get(f"{strict.url}/health", timeout=None).status_code == 200
        assert time.monotonic() - began < TIMEOUT


def test_where_all_are_at_work_a_new_one_is_told_to_wait(serve: Serve) -> None:
    limits = ServingLimits(max_connections=4, max_batch=2, max_tokens=2000)
    # Greedy, since this model draws an end token at once in one reply of ten, and its place is free.
    body = {"model": "base", "stream": True, "max_tokens": 1900, "temperature": 0}
    body |= {"messages": [{"role": "user", "content": "Hi"}]}
    with serve(limits=limits) as small, httpx.Client() as client:
        url = f"{small.url}/v1/chat/completions"
        with (
            client.stream("POST", url, json=body) as first,
            client.stream("POST", url, json=body) as other,
        ):
            assert (first.status_code, other.status_code) == (200, 200)
            with dial(small) as third:
                said = all_of(third)
            assert statuses(said) == [503]
            assert b"too_many_connections" in said
            assert [line for line in first.iter_lines() if line][-1] == "data: [DONE]"
        assert httpx.get(f"{small.url}/health").status_code == 200
    until_refused(small, "crowded")


def test_a_thousand_refusals_are_a_line(strict: Running, capfd: pytest.CaptureFixture[str]) -> None:
    before = len(strict.records)
    for _ in range(300):
        with dial(strict) as line:
            line.sendall(b"\x16\x03\x01 not http\r\n\r\n")
            assert statuses(all_of(line)) == [400]
    until_refused(strict, "not_http", 300)
    assert len(strict.records) - before < 30
    assert capfd.readouterr().err == ""


def test_without_descriptors_there_is_a_count_and_no_traceback(strict: Running) -> None:
    server = Server(strict.service, grace=5)

    async def fail() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2048):
            server._on_loop_error(loop, {"message": "socket.accept() out of system resource", "exception": OSError(24)})
        server._refusals.write()

    asyncio.run(fail())
    assert strict.records[-1]["refused"] == {"no_descriptors": 2048}


PIECES = [
    b"\r\n", b"\n", b"GET / HTTP/1.1", b"POST /v1/chat/completions HTTP/1.0", b"Host: x", b"Content-Length: ", b"5",
    b"Transfer-Encoding: ", b"chunked", b"\r\n\r\n", b": ", b" ", b"\t", b"0\r\n\r\n", b"5\r\nhello\r\n", b"\0",
    b"\xff",
]  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=25).map(b"".join)


@given(st.lists(hostile, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_request_with_one_length_or_refused(pieces: list[bytes]) -> None:
    conn = _OneRequest()
    for piece in filter(None, [POST, *pieces]):  # an empty one would be the end
        conn.receive_data(piece)
        try:
            while (event := conn.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Request):
                    names = [name for name, _ in event.headers]
                    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        except h11.RemoteProtocolError:
            assert conn.refusal.status in (400, 431, 501)
            return


@given(hostile)
@settings(max_examples=40, deadline=None)
def test_any_bytes_leave_the_service_as_it_was(strict: Running, data: bytes) -> None:
    with dial(strict) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
        assert set(statuses(all_of(line))) <= {200, 400, 404, 405, 408, 431, 501, 503}
    assert httpx.get(f"{strict.url}/health", timeout=None).status_code == 200


@pytest.mark.parametrize(("allowed", "most"), [(resource.RLIM_INFINITY, 512), (100_000, 512), (0, 1)])
def test_the_bound_follows_what_the_system_allows(allowed: int, most: int) -> None:
    crowd = Crowd(ServingLimits(), logs.Refusals(logs.RequestLog()))
    with mock.patch("resource.getrlimit", return_value=(allowed, allowed)):
        assert crowd._most() == most
