"""The edges of HTTP: bounded bodies, a request's id and log line, and what happens when the client hangs up."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.serving.error_answers import ApiError, bad_request, too_large
from harness.serving.logs import ID_HEADER, RequestLog, RequestRecord, request_id

Result = TypeVar("Result")


class ClientGone(Exception):
    """The client has hung up: there is nobody to answer."""


class Logged:
    """Middleware: gives every request an id, and writes its line when it is over."""

    def __init__(self, app: ASGIApp, *, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = request_id(Headers(scope=scope).get(ID_HEADER))
        record = RequestRecord(request_id=name, method=scope["method"], path=scope["path"])
        scope.setdefault("state", {})["record"] = record

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)[ID_HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientGone:
            record.note(hung_up=True)
        except BaseException:
            record.status = 500
            raise
        finally:
            self._log.write(record)


class EventStream(Response):
    """Server-sent events; when the client hangs up, or when all is said, `on_close` is called, always."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], *, on_close: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events for as long as the client listens."""
        try:
            await or_gone(receive, self._send_all(send))
        finally:
            self._on_close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def or_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Work for as long as the client listens; the request's body must have been read.

    Raises:
        ClientGone: the client hung up first; the work was cancelled.
    """
    doing, listening = asyncio.create_task(work), asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait({doing, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGone
        return doing.result()
    finally:
        for task in (doing, listening):
            task.cancel()
        await asyncio.gather(doing, listening, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, *, limit: int) -> bytes:
    """The body, unpacked where it is gzip, refused as soon as it is known to be too large."""
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip"):
        raise bad_request(f"`Content-Encoding` must be gzip or absent, got {packing[:40]!r}", code="unknown_encoding")
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if packing == "gzip" else None
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise too_large(limit)
    body = bytearray()
    try:
        async for part in request.stream():
            body += part if unpack is None else unpack.decompress(part, limit + 1 - len(body))
            if len(body) > limit:
                raise too_large(limit)
    except ClientDisconnect as err:
        raise ClientGone from err
    except zlib.error as err:
        raise bad_request("the body must be gzip, as `Content-Encoding` says; it is not") from err
    if unpack is not None and not unpack.eof:
        raise bad_request("the gzip body must be whole; it ends in the middle")
    return bytes(body)


def error_response(err: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as an answer."""
    return JSONResponse(err.body(), status_code=err.status, headers={**err.headers, **(headers or {})})


def record_of(request: Request) -> RequestRecord:
    """The request's log record."""
    record: RequestRecord = request.state.record
    return record
