"""Numbers as they are written: golden strings, and laws that no rounding may break."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.reporting.numbers import (
    write_bytes,
    write_count,
    write_date,
    write_estimate,
    write_observation,
    write_p,
    write_seconds,
    write_smallest_effect,
)
from harness.reporting.record import SampleScore
from harness.types import Estimate, Grain, SmallestEffect, Verdict

SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def estimate(value: float, low: float | None, high: float | None, **changes: object) -> Estimate:
    given = {"level": 0.95, "n": 60, "n_clusters": 12, "n_missing": 0, "method": "cluster bootstrap-t", **changes}
    return Estimate(value=value, low=low, high=high, **given)  # type: ignore[arg-type]


def number(text: str) -> float:
    """Read back what was written."""
    plain = text.replace("−", "-").replace("+", "").replace(",", "").replace("∞", "inf")
    if "×10" in plain:
        mantissa, exponent = plain.split("×10")
        return float(f"{mantissa}e{exponent.translate(SUPERSCRIPT)}")
    return float(plain)


def test_what_a_number_rests_on_names_seeds_and_raters() -> None:
    given = estimate(0.5, 0.4, 0.6, n_crossed=3, crossed="seed")
    assert write_estimate(given, unit="", grain=Grain.PROMPT).rows == "60 prompts / 12 clusters / 3 seeds"
    assert write_estimate(given, unit="", grain=Grain.PROMPT).basis == "n = 60 prompts, 12 clusters, 3 seeds, 0 missing"


@pytest.mark.parametrize(
    ("given", "unit", "is_difference", "expected"),
    [
        # Half-width 0.048: two significant digits are three places.
        (estimate(-0.21442, -0.262, -0.16612), "bits per byte", True, "−0.214 bits per byte [−0.262, −0.166]"),
        (estimate(0.02, -0.11, 0.15), "points", True, "+0.02 points [−0.11, +0.15]"),
        (estimate(0.871, 0.842, 0.9), "share", False, "87.1\u00a0% [84.2, 90.0]"),
        (estimate(-0.041, -0.066, -0.016), "share", True, "−4.1 percentage points [−6.6, −1.6]"),
        (estimate(12345.6, 10000.0, 15000.0), "tokens", False, "12,300 tokens [10,000, 15,000]"),
        # The low end would round to zero: it keeps a digit, so that zero is seen to lie outside.
        (estimate(0.5, 0.0004, 1.0), "nats", True, "+0.50 nats [+0.0004, +1.00]"),
        (estimate(0.0, -0.1, 0.1), "nats", True, "0.00 nats [−0.10, +0.10]"),
        (estimate(3e-8, 1e-8, 5e-8), "", False, "3.0×10⁻⁸ [1.0×10⁻⁸, 5.0×10⁻⁸]"),
        (estimate(1.0, 1.0, 1.0), "", False, "1.00 [1.00, 1.00]"),
        (estimate(2.0, -math.inf, 3.0), "nats", True, "+2.0 nats [−∞, +3.0]"),
    ],
)
def test_effect_is_written_as_by_hand(given: Estimate, unit: str, is_difference: bool, expected: str) -> None:
    assert write_estimate(given, unit=unit, is_difference=is_difference).effect == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"n_clusters": 1}, "no interval: 1 cluster, and the cluster is what is resampled"),
        ({"n": 0, "n_clusters": 0}, "no interval: no rows"),
        ({"notes": ("one film: these replies only",)}, "no interval: one film: these replies only"),
        ({}, "no interval: none given by cluster bootstrap-t"),
    ],
)
def test_absent_interval_says_why(changes: dict[str, object], expected: str) -> None:
    written = write_estimate(estimate(9.1, None, None, **changes), unit="words")
    assert not written.has_interval
    assert written.interval == expected
    assert written.effect == f"9.10 words ({expected})"


def test_nan_is_no_value_not_a_number() -> None:
    written = write_estimate(estimate(math.nan, None, None, n=0, n_clusters=0, n_missing=60), unit="nats")
    assert written.text == "no value, no interval: no rows; n = 0 replies, 0 clusters, 60 missing"


@pytest.mark.parametrize("bare", [0.5, 3, "0.5", None, (0.5, 0.4, 0.6)])
def test_a_number_without_interval_and_n_cannot_be_written(bare: object) -> None:
    with pytest.raises(TypeError, match="must be an Estimate"):
        write_estimate(bare, unit="nats")  # type: ignore[arg-type]


finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@given(st.lists(finite, min_size=3, max_size=3), st.booleans(), st.sampled_from(["nats", "share"]))
def test_no_sign_no_end_and_no_order_is_lost(values: list[float], is_difference: bool, unit: str) -> None:
    low, value, high = sorted(values)
    assume(not any(0 < abs(x) < 1e-300 for x in values))
    written = write_estimate(estimate(value, low, high), unit=unit, is_difference=is_difference)
    ends = written.interval[1:-1].split(", ")
    read = [number(ends[0]), number(written.value), number(ends[1])]
    for before, after in zip((low, value, high), read, strict=True):
        assert math.copysign(1, before) == math.copysign(1, after) or before == 0
        assert (before == 0) == (after == 0)
    assert read == sorted(read)
    assert "-" not in written.text.replace("bootstrap-t", "")


@given(finite, st.floats(min_value=1e-4, max_value=1e6))
def test_rounding_never_moves_a_value_by_more_than_a_twentieth_of_the_half_width(value: float, half: float) -> None:
    assume(abs(value) < 1e8)
    written = write_estimate(estimate(value, value - half, value + half), unit="nats")
    kept_digit = abs(value) if abs(number(written.value)) < half / 20 else 0.0  # "0.0004": one digit is kept
    assert abs(number(written.value) - value) <= half / 20 + kept_digit + abs(value) * 1e-12


def test_p_values_and_smallest_effects() -> None:
    both = Verdict(label="better", reason="", p_value=0.00002, p_adjusted=0.0312)
    assert write_p(both) == "p < 0.001, adjusted p = 0.031"
    assert write_p(Verdict(label="inconclusive", reason="")) == ""
    assert write_smallest_effect(SmallestEffect(value=0.02, unit="share")) == "2 percentage points"
    assert write_smallest_effect(SmallestEffect(value=0.02, unit="bits_per_byte")) == "0.02 bits per byte"


def test_observations_say_when_they_are_missing() -> None:
    assert write_observation(SampleScore(measure="coherence", value=-0.5)) == "−0.500"
    assert write_observation(SampleScore(measure="distinct_2", value=0.94), unit="share") == "94\u00a0%"
    assert write_observation(SampleScore(measure="coherence", value=None, status="low_mass")) == "missing (low mass)"


@pytest.mark.parametrize(
    ("n", "noun", "expected"),
    [(1, "reply", "1 reply"), (2, "reply", "2 replies"), (1200, "film", "1,200 films"), (0, "day", "0 days")],
)
def test_counts_agree_with_their_noun(n: int, noun: str, expected: str) -> None:
    assert write_count(n, noun) == expected


def test_times_sizes_and_dates() -> None:
    assert [write_seconds(s) for s in (0.42, 9.99, 41.2, 425, 3599.7, 11520)] == [
        "0.4 s", "10 s", "41 s", "7 min 05 s", "1 h 00 min", "3 h 12 min",
    ]  # fmt: skip
    assert [write_bytes(n) for n in (12, 4_200, 2_900_000_000)] == ["12 B", "4.2 kB", "2.9 GB"]
    assert write_date("2026-11-22T18:04:11+00:00") == "22 November 2026, 18:04 UTC"
    assert write_date("yesterday") == "yesterday"
