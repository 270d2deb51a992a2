"""What is asked of an endpoint and what comes back, before anyone reads a meaning into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.store.artifacts import digest_bytes
from harness.types import JsonObject

REVISION = 1  # raise when what is sent for a body changes; part of every cache key
TEMPLATE_TOKENS = 16  # a chat template's own, per message, at most: roles, turn marks, and a default system line


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One request to `/chat/completions`."""

    body: Mapping[str, Any]  # the whole JSON body: model, messages, everything that decides the answer
    draw: int = 0  # tells apart independent answers to one body

    def key(self, url: str, *, repetition: int = 0) -> str:
        """sha256 over everything that decides the answer: server, body, draw.

        A higher `repetition` is the same question asked anew, to see whether it is answered alike.
        """
        decides = [REVISION, url, self.body, self.draw, repetition]
        # The body is plain JSON already: `digest_json` would copy it, which costs more than all else of a known score.
        return digest_bytes(json.dumps(decides, sort_keys=True, allow_nan=False).encode())

    @property
    def n_bytes(self) -> int:
        """UTF-8 bytes of the text sent: never fewer than its tokens."""
        return sum(len(str(m["content"]).encode("utf-8", "replace")) for m in self.body["messages"])

    @property
    def n_input_at_most(self) -> int:
        """Upper bound of the tokens that will be charged as input."""
        return self.n_bytes + TEMPLATE_TOKENS * (len(self.body["messages"]) + 1)

    @property
    def n_output_at_most(self) -> int:
        """Upper bound of the tokens that will be charged as output."""
        return int(self.body["max_tokens"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """How one call ended: with the server's answer, or with the reason why there is none."""

    answer: JsonObject | None  # the body as it came, logprobs included; it holds at least one choice
    error: str = ""  # one sentence without key
    status: int | None = None  # of HTTP, where the server answered with another than success
    n_attempts: int = 0  # 0: from the cache
    n_lost: int = 0  # attempts whose answer was lost on the way: the server may have charged for them
    seconds: float = 0.0  # of the last attempt

    @property
    def n_input(self) -> int | None:
        """Input tokens as the server counted them."""
        return _count(self.answer, "prompt_tokens")

    @property
    def n_output(self) -> int | None:
        """Output tokens as the server counted them."""
        return _count(self.answer, "completion_tokens")


def _count(answer: JsonObject | None, name: str) -> int | None:
    usage = (answer or {}).get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
