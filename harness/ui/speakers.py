"""Who speaks in the chat: variants behind `screentest serve`, or the embedded base and its adapters in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from harness.doors.answers import OPENING, content_text
from harness.errors import UnavailableError
from harness.models.chat_templates import chat_messages, render
from harness.models.contracts import asked_system, asked_system_there
from harness.models.endpoint.connecting import list_models, open_client, read_key, told
from harness.types import Adapter, Decoding, Message

if TYPE_CHECKING:
    from harness.models.local import LocalModel
    from harness.store.tracking import Tracking

URL_VARIABLE = "SCREENTEST_SERVE_URL"
KEY_VARIABLE = "SCREENTEST_API_KEY"  # the same that `screentest serve` reads
DEFAULT_URL = "http://localhost:8000/v1"
BASE = "base"
PROBE_SECONDS = 1.0


class ServedSpeakers:
    """Variants behind an OpenAI-compatible endpoint; lines arrive token by token."""

    def __init__(self, url: str) -> None:
        self.where = url
        self._offered: dict[str, dict[str, Any]] = {}

    def names(self) -> list[str]:
        """What the endpoint lists.

        Raises:
            UnavailableError: the endpoint refuses the key, or went away.
        """
        self._offered = list_models(self.where, key_variable=KEY_VARIABLE)
        return list(self._offered)

    def system_of(self, variant: str, default: str | None) -> str | None:
        """What it is asked with: what the data bring, else what the server says of an adapter, else the default."""
        return asked_system_there(self._offered.get(variant, {}), default)

    def stream(
        self, variant: str, turns: Sequence[Message], *, system: str | None, n_tokens: int, seed: int
    ) -> Generator[str]:
        """The next line, in pieces as it comes, thinking included; `harness.doors.answers` tells that apart.

        Raises:
            UnavailableError: the endpoint refuses, is full, or went away.
        """
        import httpx2
        from openai import OpenAIError

        asked: Any = chat_messages(turns, system=system)
        decoding = Decoding(max_new_tokens=n_tokens)
        client = open_client(self.where, key=read_key(KEY_VARIABLE), timeout=120.0)
        try:
            chunks = client.chat.completions.create(
                model=variant,
                messages=asked,
                max_tokens=n_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=seed,
                stream=True,
            )
            for chunk in chunks:
                if chunk.choices and (piece := content_text(chunk.choices[0].delta.content)):
                    yield piece
        except (OpenAIError, httpx2.HTTPError) as err:
            raise UnavailableError(f"`{self.where}` gave no line: {told(err)}") from err


class LocalSpeakers:
    """A base with those adapters of the registry that fit it, in this process; lines arrive token by token too."""

    where = "this page's own process, in full precision"

    def __init__(self, tracking: Tracking, base: str = "embedded") -> None:
        """Load the base.

        Raises:
            UnavailableError: it is the embedded model, and that is not installed.
        """
        from harness.models.bases import resolve_base
        from harness.models.local import LocalModel

        self._tracking = tracking
        self._base = resolve_base(base)
        self._model: LocalModel = LocalModel.load(self._base)
        self._added: dict[str, Adapter] = {}  # those of variants that have been asked
        self._turn = threading.Lock()  # sessions share the model, and it speaks for one at a time

    def names(self) -> list[str]:
        """The base, and every alias in the registry."""
        from harness.registry import records

        found = [r for r in records(self._tracking) if r.base == self._base.source]
        return [BASE, *(f"{r.name}@{alias}" for r in found for alias in r.aliases)]

    def system_of(self, variant: str, default: str | None) -> str | None:
        """What it is asked with: what the data bring, else what an adapter was trained under, else the default."""
        return asked_system(self._adapter(variant), default)

    def _adapter(self, variant: str) -> Adapter | None:
        from harness.registry import resolve

        if variant != BASE and variant not in self._added:
            self._added[variant] = resolve(self._tracking, variant)
        return self._added.get(variant)

    def stream(
        self, variant: str, turns: Sequence[Message], *, system: str | None, n_tokens: int, seed: int
    ) -> Generator[str]:
        """The next line, in pieces as it comes, thinking included."""
        from harness.models.detokenizing import ReplyText, begins_thinking
        from harness.models.protocol import ReplyRequest

        decoding = Decoding(max_new_tokens=n_tokens, seed=seed)
        text = ReplyText(self._model.tokenizer, decoding.stop)
        with self._turn:
            adapter = self._adapter(variant)
            asked: Sequence[Mapping[str, str]] = chat_messages(turns, system=system)
            name = None if adapter is None else self._model.add_adapter(adapter)
            request = ReplyRequest(key="chat", messages=asked, adapter=name)
            if begins_thinking(self._model.tokenizer, render(self._model.tokenizer, asked)):
                yield OPENING  # written by the template, so that no token of the reply says it
            for tokens in self._model.stream(request, decoding=decoding):
                yield text.push(tokens, is_last=False)
            yield text.push((), is_last=True)


Speakers = ServedSpeakers | LocalSpeakers


def find_endpoint() -> str | None:
    """The address of a running `screentest serve`, or None.

    An address that was set by hand and does not answer is an error: nobody wants another model in its place.

    Raises:
        UnavailableError: `SCREENTEST_SERVE_URL` is set and nothing answers there.
    """
    named = os.environ.get(URL_VARIABLE)
    url = (named or DEFAULT_URL).rstrip("/")
    try:
        is_there = httpx.get(f"{url}/models", timeout=PROBE_SECONDS).status_code in (200, 401)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError):  # the last two: proxies that are none
        is_there = False
    if named and not is_there:
        raise UnavailableError(f"`{URL_VARIABLE}` must be a running endpoint, got {named}, which does not answer")
    return url if is_there else None
