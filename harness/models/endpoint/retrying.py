"""What to do about a failed attempt: wait and try again, give this call up, or stop everything."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.models.endpoint.connecting import CHECK

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0
LONGEST_WAIT_S = 600.0  # a server that asks for more is not waited for

Action = Literal["retry", "give_up", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failed attempt, classified."""

    action: Action
    reason: str  # one clause, e.g. "status 503"
    status: int | None = None  # of HTTP, where there was one
    advice: str = ""  # what to check, where that can be the cause
    retry_after: float | None = None  # seconds that the server asked to be left alone
    is_congestion: bool = False  # the server has too much to do: send less
    is_inside: bool = False  # an error inside an answer of status 200
    is_lost: bool = False  # it may have answered, and charged, all the same


def classify(
    status: int, headers: Mapping[str, str], *, code: str = "", model: str = "", key_variable: str, sentence: str = ""
) -> Fault:
    """What a status other than success means.

    Args:
        headers: of the response; `Retry-After` counts, in seconds or as a date.
        code: the error code in the body, where there is one.
        key_variable: where the key came from; its name is shown, never the key.
        sentence: what the server says, without secrets; "" where it says nothing.
    """
    told = f"status {status}{f' ({code})' if code and code != str(status) else ''}"
    said = f": {sentence}" if sentence else ""
    if status in (401, 403):
        return Fault(action="stop", reason=f"it refuses the key in {key_variable} ({told}){said}", advice=CHECK)
    if status == 404 or code == "model_not_found":
        return Fault(action="stop", reason=f"it has no model `{model}` at this address ({told}){said}", advice=CHECK)
    if status == 402 or code == "insufficient_quota":
        return Fault(action="stop", reason=f"the account of the key in {key_variable} has no credit left{said}")
    if status in (408, 409, 425, 429) or status >= 500:
        wait = retry_after(headers)
        if wait is not None and wait > LONGEST_WAIT_S:
            return Fault(action="stop", reason=f"it asks to be left alone for {wait:.0f} seconds ({told}){said}")
        is_congestion = status in (429, 503, 529)
        return Fault(action="retry", reason=told + said, retry_after=wait, is_congestion=is_congestion)
    return Fault(action="give_up", reason=told + said)


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds until the server wants to be asked again (RFC 9110, 10.2.3); None where it does not say."""
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after")
    if (wait := _number(milliseconds)) is not None:
        return wait / 1000
    if text is None:
        return None
    if (wait := _number(text)) is not None:
        return wait
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def backoff(n_attempts: int, rng: random.Random) -> float:
    """Seconds before the next attempt: exponential, with full jitter, so that callers do not come back together."""
    return rng.uniform(0.0, min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(n_attempts - 1, 16)))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
