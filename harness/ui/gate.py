"""What stands between a browser and Streamlit: headers, a cookie in place of the link, and doors that stay shut.

Streamlit offers the place for it (`st.App(middleware=…)`); nothing of Streamlit's own is changed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from harness.studies.links import COOKIE, JOIN, QUERY, TAG, link_tag

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE_SECONDS = 90 * 24 * 3600
# Not of Streamlit's front end: figures of the server, uploads, the agents' interface, health of scripts.
_SHUT = re.compile(r"/_stcore/(metrics|upload_file|agent|script-health-check)|/component/")
_MEDIA = "/media/"  # files to take home, which the owner's pages alone have
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_HOST = "/_stcore/host-config"
OWNERS = ("browse", "reports", "chat")  # pages with a path; Results, and what raters see, have none
_STREAMLITS = re.compile(r"/(_stcore|static|media|app)/")
# What the front end needs to hear to go on without a host: nobody may embed it, nobody may message it.
_NO_HOST = {"allowedOrigins": [], "useExternalAuthToken": False, "enableCustomParentMessages": False}
_PATH = "app.py"  # in place of the file that the server runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Where somebody who came by an open link is sent on to, and what their browser is to keep."""

    query: Mapping[str, str]
    cookies: Mapping[str, str]


Arrive = Callable[[Mapping[str, str], Mapping[str, str]], Arrival]  # the address's query, cookies


class Gate:
    """ASGI middleware of the rating and the owner's pages."""

    def __init__(self, app: ASGIApp, *, base: str, folder: Path, is_secure: bool, arrive: Arrive | None = None) -> None:
        self.app, self.base, self.is_secure, self.arrive = app, base.rstrip("/"), is_secure, arrive
        self.folder = str(folder).encode()
        self.pages = {"", "/", *(f"/{page}{slash}" for page in OWNERS if arrive is None for slash in ("", "/"))}
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers().items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is ours, and let the rest through."""
        if scope["type"] == "websocket":
            await self.app(scope, receive, self._without_paths(send))
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await self._http(scope, receive, self._with_headers(send))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import Request
        from starlette.responses import JSONResponse, Response

        path = scope["path"].removeprefix(self.base)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if _SHUT.match(path) or (self.arrive is not None and path.startswith(_MEDIA)):
            await Response(status_code=404)(scope, receive, send)
        elif path == _HOST:
            await JSONResponse(_NO_HOST)(scope, receive, send)
        elif given.get(QUERY):
            token = given.pop(QUERY)
            is_key = _KEY.fullmatch(token) is not None  # anything else is nobody's, and might be no cookie
            cookies = {f"{COOKIE}{link_tag(token)}": token} if is_key else {}
            await self._sent_on({**given, TAG: link_tag(token)} if is_key else {}, cookies)(scope, receive, send)
        elif self.arrive is not None and given.get(JOIN):
            came = await run_in_threadpool(self.arrive, given, Request(scope).cookies)
            await self._sent_on(came.query, came.cookies)(scope, receive, send)
        elif (
            path not in self.pages
            and _STREAMLITS.match(path) is None
            and "text/html" in Request(scope).headers.get("accept", "")
        ):  # somebody's address bar: Streamlit would speak of the app's main page
            await self._sent_on(given, {})(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _sent_on(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> Any:
        """To the same page without the key in its address; the key goes into a cookie that no script can read."""
        from starlette.responses import RedirectResponse

        answer = RedirectResponse(f"{self.base}/?{urlencode(query)}", status_code=303)
        for name, value in cookies.items():
            answer.set_cookie(
                name, value, max_age=COOKIE_SECONDS, path=f"{self.base}/", httponly=True, samesite="strict",
                secure=self.is_secure,
            )  # fmt: skip
        return answer

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in self.headers}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in ours | {b"server"}]
                message = {**message, "headers": [*kept, *self.headers]}
            await send(message)

        return sending

    def _without_paths(self, send: Send) -> Send:
        """No message tells where on the server the page's files are."""

        async def sending(message: Message) -> None:
            data = message.get("bytes")
            if data and self.folder in data:
                message = {**message, "bytes": _without_path(data)}
            await send(message)

        return sending


def headers() -> dict[str, str]:
    """Of every answer: scripts of ours alone, no frame around us, no address told to others."""
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' blob: {' '.join(_inline_scripts())}".strip(),  # blob: components are imported from one
        "style-src": "'self' 'unsafe-inline'",  # the front end writes its styles at run time
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' ws: wss:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }


def _inline_scripts() -> list[str]:
    """Digests of the scripts that stand in Streamlit's page itself."""
    import streamlit

    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    found = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in found]


def _without_path(data: bytes) -> bytes:
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    message = ForwardMsg.FromString(data)
    if message.WhichOneof("type") == "new_session":
        message.new_session.main_script_path = _PATH
    return bytes(message.SerializeToString())
