"""`screentest serve` as a process, beset by clients that hold what they can get: others are answered, and it stops."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from embedded import free_port
from fakes import tiny_checkpoint
from servers import wait_until_it_answers
from stories import command, environment, fresh_home

pytestmark = pytest.mark.slow
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
CHAT = {"model": "base", "stream": True, "max_tokens": 500, "n": 4, "messages": [{"role": "user", "content": "Go on."}]}
STREAM = POST + b"Content-Length: %d\r\n\r\n" % len(json.dumps(CHAT)) + json.dumps(CHAT).encode()
GRACE = 3.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """Clients may take a minute for a request, the service three seconds to stop."""
    port, log, base = free_port(), tmp_path / "log", tiny_checkpoint(tmp_path / "base")
    words = command("serve", "--base", base, "--port", port, "--grace", GRACE, "--timeout", 60)
    with log.open("wb") as stderr:
        process = subprocess.Popen(words, env=environment(fresh_home(tmp_path / "home")), stderr=stderr)
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}")
            yield process, port, log
        finally:
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux bounds the descriptors of a process that runs")
def test_held_connections_keep_nobody_out_and_do_not_keep_it_from_stopping(
    served: tuple[subprocess.Popen[bytes], int, Path],
) -> None:
    process, port, log = served
    running = psutil.Process(process.pid)
    running.rlimit(psutil.RLIMIT_NOFILE, (running.num_fds() + 24, 4096))
    with contextlib.ExitStack() as stack:

        def hold(said: bytes) -> None:
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            with contextlib.suppress(TimeoutError, ConnectionError):
                line.sendall(said)

        for i in range(200):
            hold(GET[:11] if i % 2 else POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=None).status_code == 200
        assert b"accept" not in log.read_bytes()
        for said in (b"", GET[:11], POST + b"Content-Length: 9\r\n\r\n{", GET, GET * 5000, STREAM, STREAM * 200):
            hold(said)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert process.returncode == 0
    assert log.stat().st_size < 2_000_000
