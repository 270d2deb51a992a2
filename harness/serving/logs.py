"""One JSON line per request: ids, counts and times. What was said is logged only where that was asked for.

What was refused before it was a request is counted, and told in one line every ten seconds at most.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

ID_HEADER = "x-request-id"
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
SECONDS_BETWEEN_COUNTS = 10.0


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """What becomes known of a request while it is answered."""

    request_id: str
    method: str
    path: str
    status: int | None = None  # None: the client left before an answer
    facts: dict[str, Any] = field(default_factory=dict)  # model, tokens, times
    started: float = field(default_factory=time.perf_counter)

    def note(self, **facts: Any) -> None:
        """Add facts; None is left out."""
        self.facts.update({key: value for key, value in facts.items() if value is not None})


class RequestLog:
    """Writes records; a broken pipe on the log's side never reaches a client."""

    def __init__(self, stream: IO[str] | None = None, *, with_text: bool = False) -> None:
        """Write to `stream` (stderr unless given); `with_text` adds prompts and replies."""
        self._stream = stream
        self.with_text = with_text

    def write(self, record: RequestRecord) -> None:
        """One line; the path is cut, a client may send any."""
        known = {"request_id": record.request_id, "method": record.method, "path": record.path[:200]}
        ms = round((time.perf_counter() - record.started) * 1000, 1)
        self.tell(**known, status=record.status, ms=ms, **record.facts)

    def tell(self, **facts: Any) -> None:
        """One line of any facts."""
        data = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}
        stream = self._stream or sys.stderr
        try:
            stream.write(json.dumps(data) + "\n")
            stream.flush()
        except (OSError, ValueError):  # closed
            return


class Refusals:
    """Counts by reason, for an event loop: a million of them are a line, not a million lines."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log
        self._counts: Counter[str] = Counter()

    def note(self, why: str) -> None:
        """One more; the counts are written when ten seconds have passed since the first."""
        if not self._counts:
            asyncio.get_running_loop().call_later(SECONDS_BETWEEN_COUNTS, self.write)
        self._counts[why] += 1

    def write(self) -> None:
        """Write what is counted, and begin anew."""
        if self._counts:
            self._log.tell(refused=dict(self._counts))
            self._counts.clear()


def request_id(given: str | None) -> str:
    """The client's own id where it is a plain one, else a new one."""
    return given if given and _ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
