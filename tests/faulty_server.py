"""A real OpenAI-compatible server on a real socket that misbehaves where a test tells it to.

`from faulty_server import FaultyServer, Fault`. It runs in a thread of its own with its own event loop, answers
`/chat/completions` by a rule that a test can compute (`digit_of`), and counts every answer that it delivered whole:
what a real server would have charged for.
"""

from __future__ import annotations

import asyncio
import collections
import email.utils
import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "status", "reset", "slow", "cut", "not_json", "empty_choices", "no_message",
    "choice", "raw", "refusal", "filter", "no_logprobs", "no_score_token", "prose", "nan", "length", "prefix", "says",
]  # fmt: skip
N_PROBES = 5  # calls that find out what this server can do for a judge
SHARE = 0.8  # of the probability, on the digit that the rule names; half of the rest on its neighbour


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to misbehave."""

    kind: Kind
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    code: str = ""
    param: str = ""
    message: str = "no"  # of an error; says: the answer itself
    choice: dict[str, Any] = field(default_factory=dict)  # choice: laid over the answer's only one
    body: bytes = b""  # raw: the whole answer
    seconds: float = 0.0  # slow: until the first byte


def retry_date(seconds: float) -> str:
    """An HTTP date so many seconds from now."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def is_probe(body: dict[str, Any]) -> bool:
    """Whether a body only asks what the server can do."""
    return len(body["messages"]) <= 2 and body["messages"][0]["content"].startswith(("Answer with one", "Count from"))


def digit_of(text: str) -> int:
    """The score from 1 to 5 that the server gives for a prompt."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()[0] % 5 + 1


def expected_score(text: str) -> float:
    """Σ p(s)·s of what the server says: 0.8 on the digit and 0.1 on 1, renormalised by the 0.9 they capture."""
    digit = digit_of(text)
    return (SHARE * digit + 0.1 * 1) / (SHARE + 0.1) if digit != 1 else 1.0


Behave = Callable[[dict[str, Any], int], Fault | None]  # the body, and how often it was asked before


class FaultyServer:
    """Start with `with FaultyServer(...) as server`; `server.url` is its base URL."""

    def __init__(self, behave: Behave = lambda body, n: None, *, latency: float = 0.0, capacity: int = 10_000) -> None:
        self.behave = behave
        self.latency = latency
        self.capacity = capacity  # in flight at once; more is refused with 429
        self.sent: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.delivered: collections.Counter[str] = collections.Counter()  # whole answers, by body
        self.most_in_flight = 0
        self._asked: collections.Counter[str] = collections.Counter()
        self._n_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def n_delivered_twice(self) -> int:
        """Whole answers beyond the first of each body."""
        return sum(n - 1 for n in self.delivered.values())

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._handlers):
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.sent.append(body)
        self.keys.append(headers.get("authorization", ""))
        self.times.append(time.monotonic())
        key = json.dumps(body, sort_keys=True)
        self._asked[key] += 1
        self._n_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._n_in_flight)
        try:
            if self._n_in_flight > self.capacity:
                return await self._status(writer, Fault(kind="status", status=429))
            fault = self.behave(body, self._asked[key] - 1)
            await asyncio.sleep(fault.seconds if fault is not None and fault.kind == "slow" else self.latency)
            return await self._reply(writer, body, key, fault)
        finally:
            self._n_in_flight -= 1

    async def _reply(self, writer: asyncio.StreamWriter, body: dict[str, Any], key: str, fault: Fault | None) -> bool:
        kind = "" if fault is None else fault.kind
        if fault is not None and kind == "status":
            return await self._status(writer, fault)
        if kind == "reset":
            writer.transport.abort()
            return False
        told = answer(body, kind, said=fault.message if fault is not None else "")
        if fault is not None and kind == "choice":
            told["choices"][0] |= fault.choice
        data = fault.body if fault is not None and kind == "raw" else json.dumps(told).encode()
        if kind == "not_json":
            data = b'{"choices": [{"mess'
        if kind == "cut":
            writer.write(_head(200, len(data)) + data[: len(data) // 2])
            await writer.drain()
            return False
        writer.write(_head(200, len(data)) + data)
        await writer.drain()
        if kind in ("", "slow", "says", "choice"):
            self.delivered[key] += 1
        return True

    async def _status(self, writer: asyncio.StreamWriter, fault: Fault) -> bool:
        data = json.dumps(
            {"error": {"message": fault.message, "param": fault.param or None, "code": fault.code or None}}
        ).encode()
        data = fault.body or data
        writer.write(_head(fault.status, len(data), fault.headers) + data)
        await writer.drain()
        return True


def answer(body: dict[str, Any], kind: str = "", *, said: str = "") -> dict[str, Any]:
    """A chat completion, sound or not."""
    digit = str(digit_of(body["messages"][-1]["content"]))
    texts = {"prose": f"I would say {digit}.", "prefix": f"Score: {digit}", "says": said}
    content: str | None = texts.get(kind, digit)
    finish = {"filter": "content_filter", "length": "length"}.get(kind, "stop")
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if kind == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I cannot rate this."}
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "message": message}
    if body.get("logprobs") and kind != "no_logprobs":
        positions = _positions(digit, kind) if kind != "says" else _written(said)
        for position in positions if is_probe(body) else ():  # as many as are asked for
            listed, n_wanted = position["top_logprobs"], body["top_logprobs"]
            listed += _position([(f"w{n}", 1e-4) for n in range(len(listed), n_wanted)])["top_logprobs"]
        choice["logprobs"] = {"content": positions}
    if kind == "no_message":
        del choice["message"]
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [] if kind == "empty_choices" else [choice],
        "usage": {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301},
    }


def _positions(digit: str, kind: str) -> list[dict[str, Any]]:
    if kind == "refusal":
        return []
    score = _position([(digit, SHARE), ("1" if digit != "1" else " 1", 0.1), ("The", 0.05)])
    if kind == "no_score_token":
        return [_position([("The", 0.7), ("I", 0.2)])]
    if kind == "prose":
        return [_position([("I", 0.97), (digit, 0.02)]), score]
    if kind == "prefix":
        return [_position([(t, 0.99)]) for t in ("Score", ":", " ")] + [score]
    if kind == "nan":
        score["top_logprobs"][0]["logprob"] = math.nan
    return [score]


def _written(text: str) -> list[dict[str, Any]]:
    """A text whose digits are tokens, each as likely as the score that the rule names; the rest is all but certain."""
    tokens = re.findall(r"\d|\D+", text)
    others = {digit: "1" if digit != "1" else "2" for digit in "0123456789"}
    return [
        _position([(t, SHARE), (others[t], 0.1), ("The", 0.05)]) if t in others else _position([(t, 0.99)])
        for t in tokens
    ]


def _position(tokens: list[tuple[str, float]]) -> dict[str, Any]:
    top = [{"token": token, "logprob": math.log(p), "bytes": list(token.encode())} for token, p in tokens]
    return {**(top[0] if top else {}), "top_logprobs": top}


def _head(status: int, n_bytes: int, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {n_bytes}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
