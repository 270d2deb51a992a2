"""Arithmetic of what an evaluation needs, by hand; and what the command says and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import EXPERIMENTS, screentest

from harness.errors import ConfigError
from harness.experiment.planning.costs import CallRates, Scale, calls_per_score, reply_need, score_need, total
from harness.judging.spec import load_judge_spec
from harness.models.endpoint.prices import Price

JUDGES = EXPERIMENTS / "judges"
LARGE = Scale(n_prompts=10_000, n_variants=6, n_draws=5, n_criteria=4)


def test_the_large_evaluation_by_hand() -> None:
    # 10,000 x 6 x 5 = 300,000 replies; 120 tokens read and 20 generated each; 20 x 300,000 / 1,000 / 3,600 = 1.67 h.
    replies = reply_need(LARGE, CallRates(tokens_read=120, tokens_generated=20, tokens_per_second=1_000, row_bytes=50))
    assert (replies.n_calls, replies.n_rows) == (300_000, 300_000)
    assert (replies.tokens_read, replies.tokens_generated) == (36_000_000, 6_000_000)
    assert replies.hours == pytest.approx(1.6667, abs=1e-4)
    assert replies.file_megabytes == pytest.approx(15.0)
    assert replies.usd == 0.0
    # 4 criteria: 1,200,000 scores, one call each of 500 tokens in and 1 out at $0.15 and $0.60 a million.
    rates = CallRates(
        tokens_read=500, tokens_generated=1, row_bytes=400, call_bytes=1_000, is_remote=True,
        price=Price(input=0.15, output=0.60),
    )  # fmt: skip
    scores = score_need(LARGE, rates, calls_per_score=1)
    assert (scores.n_calls, scores.n_rows) == (1_200_000, 1_200_000)
    assert scores.usd == pytest.approx(600 * 0.15 + 1.2 * 0.60)
    assert (scores.file_megabytes, scores.store_megabytes) == pytest.approx((480.0, 1_200.0))
    assert scores.hours == 0.0  # the endpoint's hours are not ours
    both = total([replies, scores])
    assert both.n_rows == 1_500_000
    assert both.hours == replies.hours


def test_what_nobody_measured_stays_unknown_and_makes_the_sum_unknown() -> None:
    known = reply_need(LARGE, CallRates(tokens_read=1, tokens_generated=1, tokens_per_second=1, row_bytes=1))
    unknown = score_need(LARGE, CallRates(is_remote=True), calls_per_score=1)
    assert (unknown.tokens_read, unknown.tokens_generated, unknown.file_megabytes, unknown.usd) == (None,) * 4
    both = total([known, unknown])
    assert (both.tokens_read, both.tokens_generated, both.file_megabytes, both.usd) == (None,) * 4
    assert both.n_calls == 1_500_000
    assert reply_need(LARGE, CallRates(tokens_generated=5)).hours is None  # how fast the device is, nobody said


@given(
    sizes=st.tuples(*[st.integers(1, 500)] * 3),
    n_criteria=st.integers(1, 9),
    factor=st.integers(2, 9),
    read=st.floats(0, 1e4),
)
def test_more_of_anything_needs_as_much_more(
    sizes: tuple[int, int, int], n_criteria: int, factor: int, read: float
) -> None:
    rates = CallRates(tokens_read=read, tokens_generated=1.0, tokens_per_second=10.0, row_bytes=7.0)
    small = Scale(n_prompts=sizes[0], n_variants=sizes[1], n_draws=sizes[2], n_criteria=n_criteria)
    large = Scale(n_prompts=sizes[0] * factor, n_variants=sizes[1], n_draws=sizes[2], n_criteria=n_criteria)
    for one, many in (
        (reply_need(small, rates), reply_need(large, rates)),
        (score_need(small, rates, calls_per_score=2), score_need(large, rates, calls_per_score=2)),
    ):
        assert many.n_calls == factor * one.n_calls
        assert many.n_rows == factor * one.n_rows
        assert many.tokens_read == pytest.approx(factor * (one.tokens_read or 0), abs=factor)
        assert many.file_megabytes == pytest.approx(factor * (one.file_megabytes or 0))


def test_calls_per_score_by_method() -> None:
    six = Scale(n_prompts=1, n_variants=6, n_draws=1, n_criteria=4)
    assert calls_per_score(load_judge_spec(JUDGES / "embedded-geval"), six) == 1
    assert calls_per_score(load_judge_spec(JUDGES / "embedded-likelihood"), six) == 1  # two passes for two criteria
    assert calls_per_score(load_judge_spec(JUDGES / "gpt-4o-mini"), six) == 1
    assert calls_per_score(load_judge_spec(JUDGES / "self-hosted"), six, mode="sampled") == 20
    # Five of six variants are compared with the sixth, in two orders: 10 verdicts for 6 score rows.
    assert calls_per_score(load_judge_spec(JUDGES / "embedded-pairwise"), six) == pytest.approx(10 / 6)
    with pytest.raises(ConfigError, match="give --mode"):
        calls_per_score(load_judge_spec(JUDGES / "self-hosted"), six)
    with pytest.raises(ConfigError, match="deepeval asks"):
        calls_per_score(load_judge_spec(JUDGES / "embedded-deepeval"), six)


SIZE = ("plan", "--prompts", 10_000, "--variants", 6, "--seeds", 5)


def test_the_command_counts_and_shows_what_it_does_not_know(tmp_path: Path) -> None:
    judge = ("--judge", JUDGES / "gpt-4o-mini")
    shown = screentest(*SIZE, *judge, "--json", home=tmp_path).json
    by_what = {need["what"]: need for need in shown["needs"]}
    assert by_what["scores of gpt-4o-mini"]["n_calls"] == 1_200_000
    assert by_what["scores of gpt-4o-mini"]["usd"] is None
    assert by_what["replies"]["hours"] is None
    assert "unknown" in screentest(*SIZE, *judge, home=tmp_path).stdout
    said = ("--prompt-tokens", 100, "--reply-tokens", 20, "--question-tokens", 500, "--tokens-per-second", 2_000)
    told = {n["what"]: n for n in screentest(*SIZE, *judge, *said, "--json", home=tmp_path).json["needs"]}
    assert told["replies"]["hours"] == pytest.approx(6_000_000 / 2_000 / 3_600)
    assert told["scores of gpt-4o-mini"]["tokens_read"] == 600_000_000
    assert told["scores of gpt-4o-mini"]["usd"] is None  # tokens generated per answer: nobody said


def test_a_judge_at_a_listed_price_is_priced_by_what_is_said_of_it(tmp_path: Path) -> None:
    said = ("--question-tokens", 450, "--answer-tokens", 3)
    shown = screentest(*SIZE, "--judge", JUDGES / "gpt-4o-mini", *said, "--json", home=tmp_path).json
    # 1,200,000 x (450 x $0.15 + 3 x $0.60) / 1,000,000
    assert {n["what"]: n["usd"] for n in shown["needs"]}["scores of gpt-4o-mini"] == pytest.approx(83.16)
