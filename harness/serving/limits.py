"""What one client may ask: the key, requests a minute, bytes, tokens, connections, seconds."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import ConfigError
from harness.serving.error_answers import ApiError, too_many

KEY_VARIABLE = "SCREENTEST_API_KEY"
_MOST_CLIENTS = 10_000  # whose requests are counted at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Bounds of a server; validated when made."""

    max_batch: int = 16  # replies decoded at once
    max_queue: int = 64  # replies that may wait
    max_adapters: int = 8  # in memory
    default_tokens: int = 64  # of a reply whose request names no cap
    max_tokens: int | None = None  # of any reply; None: as many as the model's context has room for
    max_bytes: int = 1_048_576  # of a request's body
    per_minute: int | None = None  # requests of one client; None leaves them uncounted
    max_connections: int = 512  # at once; one client has half of them at most
    timeout: float = 10.0  # seconds for a client to send a request, to read its answer, to stay idle

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_adapters", "default_tokens", "max_tokens", "max_bytes", "max_connections"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"`{name}` must be at least 1, got {value}")
        if not 0 < self.timeout < math.inf:
            raise ConfigError(f"`timeout` must be a number of seconds above 0, got {self.timeout}")
        if self.max_queue < 0:
            raise ConfigError(f"`max_queue` must be 0 or more, got {self.max_queue}")
        if self.per_minute is not None and self.per_minute < 1:
            raise ConfigError(f"`per_minute` must be at least 1, got {self.per_minute}; leave it out for no limit")


class KeyCheck:
    """Compares the client's key without telling, by its time, how much of it was right."""

    def __init__(self, key: str | None) -> None:
        """None (or an empty text) lets everybody in."""
        self._digest = None if not key else hashlib.sha256(key.encode()).digest()

    @property
    def is_on(self) -> bool:
        """Whether a key is asked for."""
        return self._digest is not None

    def require(self, header: str | None) -> None:
        """Check an `Authorization` header; raises `ApiError` 401."""
        if self._digest is None:
            return
        scheme, _, given = (header or "").partition(" ")
        found = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(found, self._digest) or scheme.lower() != "bearer":
            raise ApiError(
                401,
                "the header `Authorization: Bearer KEY` must bring this server's key; it does not",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


class Rate:
    """A bucket of requests per client that fills evenly over a minute."""

    def __init__(self, per_minute: int | None, *, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds."""
        self._per_minute = per_minute
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> requests left, as of when

    def take(self, client: str) -> None:
        """Count a request; raises `ApiError` 429 with the seconds until the next one may come."""
        if self._per_minute is None:
            return
        now, each = self._now(), self._per_minute / 60
        left, since = self._buckets.pop(client, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - since) * each)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        while len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if left < 1:
            raise too_many(
                f"a client may send {self._per_minute} requests a minute; wait",
                code="rate_limit_exceeded",
                retry_after=max(1, math.ceil((1 - left) / each)),
            )
