"""Cost estimate of an evaluation before it is run: calls, tokens, hours, rows, megabytes, dollars.

Counts follow from the design and are exact, but for replies that are empty (a judge is not asked about them) and for
equal questions (asked once). Everything else is a count times what one call took in a run that was measured, or what
the caller says; what neither knows stays None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.errors import ConfigError
from harness.judging.spec import JudgeSpec
from harness.models.endpoint.prices import Price

HOUR, MEGABYTE = 3600.0, 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The size of an evaluation."""

    n_prompts: int
    n_variants: int
    n_draws: int  # replies per prompt and variant: seeds
    n_criteria: int = 0  # 0: nothing is judged

    @property
    def n_replies(self) -> int:
        """Rows of generations."""
        return self.n_prompts * self.n_variants * self.n_draws

    @property
    def n_scores(self) -> int:
        """Rows of scores."""
        return self.n_replies * self.n_criteria


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRates:
    """What one call takes; None is unknown."""

    tokens_read: float | None = None
    tokens_generated: float | None = None
    tokens_per_second: float | None = None  # of what it is slow at: generated ones for replies, read ones for a judge
    row_bytes: float | None = None  # in files, per row that the calls are made for
    stage_bytes: float = 0.0  # in files, whatever their rows: a stage a variant for replies, one for a judge
    call_bytes: float | None = None  # in the SQL store, per call whose answer is kept there
    is_remote: bool = False  # asked of an endpoint: costs dollars, and no hours of one's own device
    price: Price | None = None  # of an endpoint; None is unknown

    def said(self, told: Mapping[str, float | None]) -> CallRates:
        """These rates where the caller says nothing else of the same name."""
        given: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
        return replace(self, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one part of an evaluation needs."""

    what: str
    n_calls: int
    n_rows: int
    tokens_read: int | None
    tokens_generated: int | None
    hours: float | None  # of one own device as fast as the rates say; 0 where an endpoint does the work
    file_megabytes: float | None  # artifacts
    store_megabytes: float | None  # what a judge's answers take in the SQL store
    usd: float | None  # to endpoints


def reply_need(scale: Scale, rates: CallRates) -> Need:
    """What the replies need: one call each."""
    n = scale.n_replies
    # Replies are kept in files alone.
    return _need("replies", rates, n_calls=n, n_rows=n, n_stages=scale.n_variants, is_slow_reading=False, store=0.0)


def score_need(scale: Scale, rates: CallRates, *, calls_per_score: float, what: str = "scores") -> Need:
    """What the scores need: a row per reply and criterion, and so many calls for each."""
    n_calls = round(scale.n_scores * calls_per_score)
    store = _megabytes(n_calls, rates.call_bytes)
    return _need(what, rates, n_calls=n_calls, n_rows=scale.n_scores, n_stages=1, is_slow_reading=True, store=store)


def _need(
    what: str, rates: CallRates, *, n_calls: int, n_rows: int, n_stages: int, is_slow_reading: bool, store: float | None
) -> Need:
    read, generated = _times(n_calls, rates.tokens_read), _times(n_calls, rates.tokens_generated)
    return Need(
        what=what,
        n_calls=n_calls,
        n_rows=n_rows,
        tokens_read=read,
        tokens_generated=generated,
        hours=_hours(read if is_slow_reading else generated, rates),
        file_megabytes=_megabytes(n_rows, rates.row_bytes, besides=n_stages * rates.stage_bytes),
        store_megabytes=store,
        usd=_usd(rates, n_read=read, n_generated=generated),
    )


def total(needs: Sequence[Need]) -> Need:
    """All together; a sum is unknown where a part of it is."""
    parts = [asdict(need) for need in needs]
    columns = {key: [part[key] for part in parts] for key in parts[0] if key != "what"}
    sums: dict[str, Any] = {key: sum_known(column) for key, column in columns.items()}
    return Need(what="total", **sums)


def sum_known(parts: Sequence[float | None]) -> float | None:
    """A sum; unknown where a part of it is."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def calls_per_score(spec: JudgeSpec, scale: Scale, *, mode: str | None = None) -> float:
    """How often a judge asks its model for one score.

    A likelihood judge reads a reply after its history and without it, once for all criteria. A pairwise judge compares
    every reply but the control's with the control's, in both orders.

    Raises ConfigError: the judge's mode is decided by asking, or its method does not know before what it asks.
    """
    mode = mode or spec.mode
    if spec.declared.calls_per_score is None:
        raise ConfigError(
            f"`{spec.name}` asks what {spec.method} asks, which is not known before; give --from a run with it"
        )
    if mode == "auto" and spec.is_remote:
        raise ConfigError(
            f"`mode` of {spec.name} is auto, which asking its endpoint decides; give --mode logprobs or sampled"
        )
    n = spec.declared.calls_per_score(spec.model_copy(update={"mode": mode}))
    return n * 2 * (scale.n_variants - 1) / scale.n_variants if spec.declared.compares else n


def _times(n: int, each: float | None) -> int | None:
    return None if each is None else round(n * each)


def _hours(tokens: int | None, rates: CallRates) -> float | None:
    if rates.is_remote:
        return 0.0
    return None if tokens is None or not rates.tokens_per_second else tokens / rates.tokens_per_second / HOUR


def _megabytes(n: int, each: float | None, *, besides: float = 0.0) -> float | None:
    return None if each is None else (n * each + besides) / MEGABYTE


def _usd(rates: CallRates, *, n_read: int | None, n_generated: int | None) -> float | None:
    if not rates.is_remote:
        return 0.0
    if rates.price is None or n_read is None or n_generated is None:
        return None
    return rates.price.of(n_input=n_read, n_output=n_generated)
