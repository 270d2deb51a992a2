from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from certain import sure
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import mean_estimate, powered_mean

NAN = float("nan")


def drawn(
    seed: int, *, bias: float = 0.5, noise: float = 0.4, n: int = 600, pi: float | None = 0.15
) -> tuple[Any, ...]:
    """True marks with film effects, a biased judge, a Bernoulli draw of items to mark."""
    rng = np.random.default_rng(seed)
    clusters = np.arange(n) // 10
    truth = 3 + 0.4 * rng.normal(size=n // 10)[clusters] + rng.normal(size=n)
    judge = truth + bias + noise * rng.normal(size=n)
    probabilities = np.full(n, pi) if pi else np.clip(0.05 + 0.1 * np.abs(judge - 3.5), 0.05, 0.6)
    human = np.where(rng.random(n) < probabilities, truth, NAN)
    return judge, human, probabilities, clusters, truth


def test_by_hand_without_help_from_the_judge() -> None:
    # a constant judge: λ = 0, the weighted mean of marks with w ∝ 1/π: (2·2 + 4·4) / (2 + 4) = 10/3
    result = powered_mean(
        [1, 1, 1, 1], [2, 4, NAN, NAN], probabilities=[0.5, 0.25, 0.5, 0.5], clusters=["a", "b", "c", "d"]
    )
    assert result.test.estimate.value == pytest.approx(10 / 3)
    assert result.lambdas == (0.0,) * 5
    assert result.effective_n == pytest.approx(2)


def test_everything_marked_is_the_plain_mean() -> None:
    judge, _, _, clusters, truth = drawn(0)
    result = powered_mean(judge, truth, probabilities=1.0, clusters=clusters)
    plain = mean_estimate(truth, clusters=clusters, rng=np.random.default_rng(0))
    assert result.test.estimate.value == pytest.approx(plain.value)
    assert result.test.estimate.se == pytest.approx(plain.se, rel=1e-3)


def test_a_good_judge_multiplies_the_marks_and_a_bad_one_costs_little() -> None:
    judge, human, probabilities, clusters, _ = drawn(1, noise=0.3)
    good = powered_mean(judge, human, probabilities=probabilities, clusters=clusters)
    n_marked = np.count_nonzero(~np.isnan(human))
    assert good.effective_n > 2 * n_marked
    assert sure(good.test.estimate.se) < sure(good.human_only.se)
    useless = powered_mean(
        np.random.default_rng(5).normal(size=600), human, probabilities=probabilities, clusters=clusters
    )
    assert useless.effective_n > 0.8 * n_marked
    assert max(useless.lambdas) < 0.5


def test_unequal_probabilities_are_weighted() -> None:
    errors, naive = [], []
    for seed in range(150):
        judge, human, probabilities, clusters, truth = drawn(seed, pi=None)
        result = powered_mean(judge, human, probabilities=probabilities, clusters=clusters)
        errors.append(result.test.estimate.value - truth.mean())
        naive.append(np.nanmean(human) - truth.mean())
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(150) + 0.02
    assert abs(np.mean(naive)) > 2 * abs(np.mean(errors))


@settings(max_examples=20)
@given(seed=st.integers(0, 500), shift=st.floats(-100, 100), scale=st.floats(0.1, 10))
def test_moving_the_judges_scale_changes_nothing(seed: int, shift: float, scale: float) -> None:
    judge, human, probabilities, clusters, _ = drawn(seed, noise=0.8)
    one = powered_mean(judge, human, probabilities=probabilities, clusters=clusters)
    other = powered_mean(judge + shift, human, probabilities=probabilities, clusters=clusters)
    assert one.test.estimate.value == pytest.approx(other.test.estimate.value, abs=1e-6)
    both = powered_mean(scale * judge, scale * human, probabilities=probabilities, clusters=clusters)
    assert both.test.estimate.se == pytest.approx(scale * sure(one.test.estimate.se), rel=1e-6)


def test_hand_picked_marks_are_refused() -> None:
    judge, human, probabilities, clusters, _ = drawn(4)
    with pytest.raises(InputError, match="picked by hand"):
        powered_mean(judge, human, probabilities=None, clusters=clusters)
    with pytest.raises(InputError, match="not the probabilities"):
        powered_mean(judge, human, probabilities=0.6, clusters=clusters)
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        powered_mean(judge, human, probabilities=np.where(np.isnan(human), 0.5, 0.0), clusters=clusters)
    with pytest.raises(InputError, match="at least 2 finite marks"):
        powered_mean(judge, np.full(600, NAN), probabilities=probabilities, clusters=clusters)


def test_marks_from_one_film_give_no_interval() -> None:
    human = np.full(40, NAN)
    human[:4] = [1, 2, 3, 4]
    result = powered_mean(np.arange(40.0), human, probabilities=0.1, clusters=np.arange(40) // 10)
    assert (result.test.estimate.low, result.test.p_value) == (None, None)
