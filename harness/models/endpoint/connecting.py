"""Reaching a server: a client of the official library, what a broken connection means, and which redirects are safe."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from harness.doors.answers import server_sentence
from harness.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI, OpenAI

CHECK = "check address, model name and key"
OPENAI = "https://api.openai.com/v1"
PATH = "/chat/completions"
MOVED = (301, 302, 307, 308)  # statuses whose redirects may be followed with the method kept
N_REDIRECTS = 3  # followed, of one call
_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_PORTS = {"http": 80, "https": 443}


def base_url(endpoint: str | None = None) -> str:
    """The base URL without a slash at its end; `OPENAI_BASE_URL` counts where none is given, else OpenAI's own."""
    return (endpoint or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")


def read_key(variable: str) -> str:
    """The key in a variable of the environment; "none" where there is none, as local servers need none.

    Raises ConfigError: no header can carry what the variable holds.
    """
    key = (os.environ.get(variable) or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"`{variable}` must hold a key of printable ASCII without spaces, it holds other characters; copy it anew"
        )
    return key or "none"


def open_client(url: str, *, key: str, timeout: Any) -> OpenAI:
    """A client that answers one call at a time; redirects are errors, so that nothing goes where nobody sent it.

    Raises UnavailableError: the address is none, or a proxy of the environment cannot be used.
    """
    from openai import DefaultHttpxClient, OpenAI

    with _translated(url):
        http = DefaultHttpxClient(follow_redirects=False)
        return OpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout, http_client=http)


def open_async_client(url: str, *, key: str, timeout: Any) -> AsyncOpenAI:
    """The same for many calls at once."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    with _translated(url):
        http = DefaultAsyncHttpxClient(follow_redirects=False)
        return AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout, http_client=http)


def list_models(url: str, *, key_variable: str) -> dict[str, dict[str, Any]]:
    """What a server offers, by name. Raises UnavailableError: it does not answer, or not with a list of models."""
    from openai import OpenAIError

    with open_client(url, key=read_key(key_variable), timeout=30.0) as client:
        try:
            listed = json.loads(_get(client, "/models"))["data"]
            return {model["id"]: dict(model) for model in listed if isinstance(model["id"], str)}
        except OpenAIError as err:
            raise UnavailableError(f"`{url}` must list its models: {told(err)}{_to_do(err)}") from err
        except (ValueError, RecursionError, TypeError, KeyError) as err:
            raise UnavailableError(
                f"`{url}` must list its models, got an answer that is no list; check address"
            ) from err


def _get(client: OpenAI, path: str) -> bytes:
    """The body at a path, redirects followed where that is safe."""
    import httpx2
    from openai import APIStatusError

    place = path
    for n_moves in range(N_REDIRECTS + 1):
        try:
            return bytes(client.get(place, cast_to=httpx2.Response).content)
        except APIStatusError as err:
            if err.status_code not in MOVED or n_moves == N_REDIRECTS:
                raise
            try:
                place = redirected(str(err.request.url), err.response.headers.get("location", ""), path=path)
            except ValueError:
                raise err from None
    return b""


def told(err: Exception) -> str:
    """Why a call of one of these clients gave nothing, in one clause: the server's own words where it has some."""
    from openai import APIStatusError, APITimeoutError

    if isinstance(err, APIStatusError):
        said = server_sentence(err.body) if err.status_code not in MOVED else unfollowed(err)
        return f"status {err.status_code}{f': {said}' if said else ''}"
    if isinstance(err, APITimeoutError):
        return "it does not answer in time"
    return server_sentence(str(err)) if err.__cause__ is None else failure(err)[0]


def _to_do(err: Exception) -> str:
    """What to check, as the end of a sentence, where that can be the cause."""
    from openai import APIStatusError

    if isinstance(err, APIStatusError):
        advice = "check address and key" if err.status_code in (401, 403, 404, 405) else ""
    else:
        advice = failure(err)[1]
    return f"; {advice}" if advice else ""


def failure(err: BaseException) -> tuple[str, str]:
    """What broke a connection, and what to check: two clauses, the second empty where there is nothing."""
    chain = list(_causes(err))
    if (found := next((e for e in chain if isinstance(e, ssl.SSLCertVerificationError)), None)) is not None:
        told = found.verify_message or "it cannot be verified"
        return f"its certificate is not accepted: {told}", "give its authority's certificate in SSL_CERT_FILE"
    if any(isinstance(e, ssl.SSLError) for e in chain):
        return "it speaks no TLS that is understood here", "check whether the address is http:// or https://"
    if any(type(e).__name__ == "ProxyError" for e in chain):
        return f"the proxy in {_proxy_variable()} refuses to connect", "check the proxy, or name the host in NO_PROXY"
    through = f" (through the proxy in {_proxy_variable()})" if _proxy_variable() else ""
    if any(isinstance(e, socket.gaierror) for e in chain):
        return f"its name is not known{through}", CHECK
    if any(isinstance(e, ConnectionRefusedError) for e in chain):
        return f"it refuses the connection{through}", CHECK
    kind = type(err.__cause__ or err).__name__
    return f"the connection broke ({kind}){through}", CHECK if kind == "ConnectError" else ""


def unfollowed(err: APIStatusError) -> str:
    """Why a redirect was not followed."""
    try:
        redirected(str(err.request.url), err.response.headers.get("location", ""))
    except ValueError as why:
        return str(why)
    return f"it redirects in circles, or with status {err.status_code}, which asks for no second call"


def redirected(url: str, location: str, *, path: str = PATH) -> str:
    """Where a redirect of a call may be followed to: the same path on the same host, or the same host with TLS added.

    Raises ValueError: it leads elsewhere; the message is one clause that says where, and why it is not followed.
    """
    target = urljoin(url, location)
    here, there = urlsplit(url), urlsplit(target)
    shown = f"{there.scheme}://{there.netloc.rpartition('@')[2]}{there.path}"
    if here.hostname != there.hostname or there.scheme not in _PORTS:
        raise ValueError(
            f"it redirects to {shown}, another host, which is sent neither key nor text; name that address"
        )
    is_same = (here.scheme, _port(here)) == (there.scheme, _port(there))
    if not is_same and not (here.scheme == "http" and there.scheme == "https" and _port(there) in (443, _port(here))):
        raise ValueError(
            f"it redirects to {shown}, which is less safe or another server; name the address that is meant"
        )
    if not there.path.rstrip("/").endswith(path):
        raise ValueError(f"it redirects to {shown}, which is no address of {path}; name the one that is meant")
    return target


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """What the making of a client raises, as a sentence."""
    import httpx2

    try:
        yield
    except ImportError as err:
        raise UnavailableError(
            f"`{_proxy_variable()}` names a SOCKS proxy, which needs the package `socksio`, and that is not installed; "
            "pip install socksio, or take the variable away"
        ) from err
    except (ValueError, httpx2.InvalidURL) as err:
        if "proxy" in str(err).lower():
            raise UnavailableError(
                f"`{_proxy_variable()}` must be a proxy such as http://host:3128, it is none; mend it or take it away"
            ) from err
        raise UnavailableError(f"`{url}` must be an address such as http://host:8000/v1, it is none") from err


def _proxy_variable() -> str:
    """The variable that names a proxy; "" where none does."""
    return next((n for name in _PROXIES for n in (name, name.lower()) if os.environ.get(n)), "")


def _causes(err: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: BaseException | None = err
    while left is not None and id(left) not in seen:
        seen.add(id(left))
        yield left
        left = left.__cause__ or left.__context__


def _port(address: SplitResult) -> int | None:
    return address.port or _PORTS.get(address.scheme)
