"""How a number is written. Nothing here takes a bare float where a reader could take it for a result.

An `Estimate` is written with as many digits as its interval supports (two significant digits of the half-width), a
true minus, its unit, and what it rests on. Signs are never lost: an end that is not zero is never printed as zero, so
an interval that excludes zero looks like one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.reporting.record import SampleScore
from harness.types import Estimate, Grain, SmallestEffect, Verdict

MINUS = "−"
NO_BREAK = "\u00a0"
MAX_PLACES = 6  # a smaller number is written as a power of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MONTHS = (  # not strftime: that follows the locale
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_EFFECT_UNITS = {
    "points": "points",
    "bits_per_byte": "bits per byte",
    "share": "percentage points",
    "nats": "nats",
    "sd_of_control": "standard deviations of the control",
    "quantile_of_control": "quantiles of the control",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An estimate in words, in parts so that a table can set them apart."""

    value: str  # "−0.214", or "no value"
    unit: str  # "bits per byte", "%"; may be empty
    interval: str  # "[−0.262, −0.166]", or why there is none
    level: str  # "95 %"
    rows: str  # "60 replies / 12 films"
    missing: str  # "0 missing"
    basis: str  # "n = 60 replies, 12 films, 0 missing"
    has_interval: bool

    @property
    def amount(self) -> str:
        """Value with its unit, kept on one line where the unit is a sign."""
        if not self.unit or self.value == "no value":
            return self.value
        return f"{self.value}{NO_BREAK if self.unit == '%' else ' '}{self.unit}"

    @property
    def effect(self) -> str:
        """Value, unit and interval: the least that may be quoted."""
        return f"{self.amount} {self.interval}" if self.has_interval else f"{self.amount} ({self.interval})"

    @property
    def text(self) -> str:
        """Everything in one line."""
        level = f", {self.level} interval {self.interval}" if self.has_interval else f", {self.interval}"
        return f"{self.amount}{level}; {self.basis}"


def write_estimate(
    estimate: Estimate,
    *,
    unit: str,
    is_difference: bool = False,
    grain: Grain = Grain.REPLY,
    cluster_noun: str = "cluster",
) -> Written:
    """Write an estimate. Shares are written in per cent, their differences in percentage points.

    Args:
        unit: as shown; "share" is scaled by 100.
        is_difference: sign everything, plus as well as minus.
        grain: what one of the n rows is.
        cluster_noun: what one of the clusters is, in the singular.

    Raises:
        TypeError: `estimate` is anything but an `Estimate`.
    """
    _require_estimate(estimate)
    scale = 100.0 if unit == "share" else 1.0
    ends = [x * scale for x in (estimate.low, estimate.high) if x is not None and not math.isnan(x)]
    value = estimate.value * scale
    places = _places(value, ends)
    has_interval = len(ends) == 2
    if has_interval:
        interval = f"[{_decimal(ends[0], places, is_difference)}, {_decimal(ends[1], places, is_difference)}]"
    else:
        interval = f"no interval: {_why_no_interval(estimate, cluster_noun)}"
    return Written(
        value="no value" if math.isnan(value) else _decimal(value, places, is_difference),
        unit=("percentage points" if is_difference else "%") if unit == "share" else unit,
        interval=interval,
        level=write_level(estimate),
        rows=" / ".join(_counts(estimate, grain, cluster_noun)),
        missing=f"{estimate.n_missing:,} missing",
        basis=write_basis(estimate, grain=grain, cluster_noun=cluster_noun),
        has_interval=has_interval,
    )


def write_basis(estimate: Estimate, *, grain: Grain = Grain.REPLY, cluster_noun: str = "cluster") -> str:
    """What the number rests on: "n = 60 replies, 12 films, 0 missing"."""
    return f"n = {', '.join(_counts(estimate, grain, cluster_noun))}, {estimate.n_missing:,} missing"


def _counts(estimate: Estimate, grain: Grain, cluster_noun: str) -> list[str]:
    """Rows, clusters, and what they are crossed with: "60 prompts", "20 films", "3 seeds"."""
    cluster = estimate.cluster or cluster_noun
    row = cluster if estimate.row == "cluster" else estimate.row or grain.value
    counts = [(estimate.n, row), (estimate.n_clusters, cluster), (estimate.n_crossed, estimate.crossed)]
    return [write_count(n, noun) for n, noun in dict.fromkeys(counts) if noun]


def write_level(estimate: Estimate) -> str:
    """The confidence level: "95 %"."""
    return f"{estimate.level * 100:.4g}{NO_BREAK}%"


def write_times(n: int) -> str:
    """How often: "once", "twice", "12 times"."""
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")


def write_count(n: int, noun: str) -> str:
    """An exact count with its noun: "1 reply", "1,200 films"."""
    if n == 1:
        return f"1 {noun}"
    is_vowel_y = noun.endswith("y") and noun[-2:-1] in tuple("aeiou")
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and not is_vowel_y else f"{noun}s"
    return f"{n:,} {plural}"


def write_list(parts: Sequence[str]) -> str:
    """What is told one after another: "base", "base and sft", "base, sft and dpo"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def write_status(status: str) -> str:
    """A status or a verdict in words: "Not qualified"."""
    return status.replace("_", " ").capitalize()


def write_p(verdict: Verdict) -> str:
    """The p value of a verdict, adjusted for multiplicity where it was; empty where there is none."""
    if verdict.p_value is None and verdict.p_adjusted is None:
        return ""
    raw = "" if verdict.p_value is None else f"p {_probability(verdict.p_value)}"
    adjusted = "" if verdict.p_adjusted is None else f"adjusted p {_probability(verdict.p_adjusted)}"
    return ", ".join(part for part in (raw, adjusted) if part)


def write_smallest_effect(effect: SmallestEffect) -> str:
    """The declared smallest effect that matters: "0.02 bits per byte"."""
    scale = 100 if effect.unit == "share" else 1
    return f"{effect.value * scale:.6g} {_EFFECT_UNITS[effect.unit]}"


def write_observation(score: SampleScore, *, unit: str = "") -> str:
    """One reply's own value of a measure, or why there is none. An observation has no interval."""
    if score.value is None or math.isnan(score.value):
        return f"missing ({score.status.replace('_', ' ')})"
    if unit == "share":
        return f"{_decimal(score.value * 100, 0, False)}{NO_BREAK}%"
    return _decimal(score.value, _places(score.value, []), False)


def write_date(text: str) -> str:
    """An ISO 8601 date for a reader: "22 November 2026, 18:04 UTC"; anything else is left as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    day = f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return f"{day}, {moment:%H:%M}{zone}"


def write_seconds(seconds: float) -> str:
    """A stopwatch reading: "0.4 s", "41 s", "7 min 05 s", "3 h 12 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def write_bytes(n: int) -> str:
    """A size in decimal units: "3.2 GB"."""
    if n < 1000:
        return f"{n} B"
    power = min(int(math.log10(n) // 3), 4)
    return f"{n / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def _require_estimate(given: object) -> None:
    if not isinstance(given, Estimate):
        raise TypeError(
            f"`estimate` must be an Estimate (value, interval, n, missing), got {type(given).__name__}; "
            "a number without them cannot be rendered"
        )


def _why_no_interval(estimate: Estimate, cluster_noun: str) -> str:
    if estimate.notes:
        return "; ".join(note.removesuffix(": no interval can be given") for note in estimate.notes)
    if estimate.n == 0:
        return "no rows"
    if estimate.n_clusters < 2:
        noun = estimate.cluster or cluster_noun
        return f"{write_count(estimate.n_clusters, noun)}, and the {noun} is what is resampled"
    return f"none given by {estimate.method}"


def _places(value: float, ends: list[float]) -> int:
    """Decimal places: two significant digits of the half-width; without interval three of the value, none of a 0."""
    finite = [x for x in ends if math.isfinite(x)]
    half = (max(finite) - min(finite)) / 2 if len(finite) == 2 else 0.0
    if len(finite) == 1 and math.isfinite(value):
        half = abs(finite[0] - value)
    if half > 0:
        return min(1 - math.floor(math.log10(half)), MAX_PLACES)
    if value == 0 or not math.isfinite(value):
        return 0
    return min(2 - math.floor(math.log10(abs(value))), MAX_PLACES)


def _decimal(value: float, places: int, is_signed: bool) -> str:
    """A number with a true minus; never "0" for what is not zero, never "−0" for what is."""
    if value == 0:
        return f"{0:.{max(places, 0)}f}"
    sign = MINUS if value < 0 else "+" if is_signed else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}∞"
    rounded = round(size, places)
    if rounded == 0:  # keep one digit, so that what excludes zero is seen to
        places, rounded = -math.floor(math.log10(size)), size
    if places > MAX_PLACES or size >= 1e9:
        mantissa, exponent = f"{size:.1e}".split("e")
        return f"{sign}{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return f"{sign}{rounded:,.{max(places, 0)}f}"


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
