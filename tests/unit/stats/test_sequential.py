from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from certain import ends
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import BettingSequence, Look


def fed(values: np.ndarray | list[float], **options: Any) -> Look:
    race = BettingSequence(**options)
    for value in values:
        look = race.update(float(value))
    return look


def test_the_first_bet_by_hand() -> None:
    # variance 1/4, t = 1: bet = √(2 ln 40 / (¼ ln 2)) = 6.5, capped at ½ / ½ = 1; capital (1 + ½ + 1 − ½) / 2 = 1
    assert fed([1.0]).e_value == pytest.approx(1.0)
    # second: mean estimate (½ + 1) / 2 = ¾, variance (¼ + 1/16) / 2; bet still capped at 1: (1.5² + 0.5²) / 2
    assert fed([1.0, 1.0]).e_value == pytest.approx((1.5**2 + 0.5**2) / 2)


@settings(max_examples=25)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_swapping_the_sides_mirrors_everything(values: list[float]) -> None:
    one, other = fed(values), fed([1 - v for v in values])
    assert one.e_value == pytest.approx(other.e_value, rel=1e-6)
    assert one.estimate.low == pytest.approx(1 - ends(other.estimate)[1], abs=1e-9)
    assert ends(one.estimate)[0] <= one.estimate.value <= ends(one.estimate)[1]


def test_an_interval_never_widens_and_a_decision_stays() -> None:
    race = BettingSequence()
    low, high, stopped = 0.0, 1.0, False
    for value in np.random.default_rng(0).choice([0.5, 1.0, 0.0], p=[0.3, 0.5, 0.2], size=300):
        look = race.update(value)
        assert ends(look.estimate)[1] - ends(look.estimate)[0] <= high - low + 1e-12
        stopped = stopped or look.advice.action == "stop"
        assert (look.advice.action == "stop") == stopped
        low, high = ends(look.estimate)
    assert stopped
    assert high - low < 0.5
    assert look.p_value <= 0.05


def test_type_one_error_with_peeking_after_every_prompt_stays_under_five_percent() -> None:
    rng = np.random.default_rng(1)
    n_draws, n_false = 250, 0
    for _ in range(n_draws):
        prompts = rng.beta(1.5, 1.5, size=120)  # prompts differ, on average even
        values = rng.binomial(3, prompts) / 3  # three raters each
        race = BettingSequence()
        n_false += any(race.update(v).e_value >= 20 for v in values)
    assert n_false / n_draws <= 0.05


def test_expected_prompts_left_are_of_the_right_size() -> None:
    rng = np.random.default_rng(5)
    waited, foreseen = [], []
    for _ in range(40):
        race = BettingSequence()
        for n in range(1, 2000):
            look = race.update(float(rng.random() < 0.65))
            if n == 20 and look.advice.expected_more:
                foreseen.append(look.advice.expected_more)
            if look.advice.action == "stop":
                waited.append(n)
                break
    assert len(waited) == 40
    assert 0.3 < np.median(foreseen) / np.median(waited) < 3


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_values_outside_the_unit_interval_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="ties as 0"):
        BettingSequence().update(value)


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        BettingSequence(null=1.0)


def test_what_no_sensible_number_of_prompts_would_decide_gets_no_number() -> None:
    race = BettingSequence()
    for value in [0.0, 1.0] * 50 + [1.0]:
        look = race.update(value)
    assert look.advice.expected_more is None
    assert "too even" in look.advice.reason
