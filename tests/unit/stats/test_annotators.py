from __future__ import annotations

import numpy as np
import pytest
from certain import ends, holds, sure

from harness.errors import InputError
from harness.stats import alternative_annotator, bland_altman, repeatability


def panel(seed: int, *, judge_noise: float, n: int = 100) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(3, 1, size=n)
    people = {name: np.clip(np.round(truth + rng.normal(0, 0.7, size=n)), 1, 5) for name in ("ann", "ben", "cat")}
    return truth + rng.normal(0, judge_noise, size=n), people, np.arange(n) // 4


def test_advantage_by_hand() -> None:
    # others of ann: ben, cat. Judge 3 with 3, 3 fits; ann 4 does not: judge wins. Then equal: 0. Then ann wins.
    result = alternative_annotator(
        [3, 2, 5],
        {"ann": [4, 2, 1], "ben": [3, 2, 1], "cat": [3, 2, 1]},
        clusters=[1, 2, 3],
        epsilon=0.1,
        min_items=3,
    )
    ann = result.tests[0]
    assert ann.annotator == "ann"
    assert ann.advantage.value == pytest.approx((1 + 0 - 1) / 3)


def test_a_good_judge_passes_and_a_noisy_one_fails() -> None:
    judge, people, clusters = panel(0, judge_noise=0.3)
    good = alternative_annotator(judge, people, clusters=clusters, epsilon=0.15)
    assert (good.winning_share, good.is_passed) == (1.0, True)
    judge, people, clusters = panel(0, judge_noise=3.0)
    bad = alternative_annotator(judge, people, clusters=clusters, epsilon=0.15)
    assert (bad.winning_share, bad.is_passed) == (0.0, False)
    assert all(test.advantage.n == 100 and test.advantage.n_clusters == 25 for test in bad.tests)


def test_a_fourth_human_is_not_worse_than_the_others() -> None:
    # the judge is drawn like the annotators: advantage 0 on average, H0 (advantage ≤ −0.2) is rejected mostly
    shares = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = rng.normal(3, 1, size=100)
        marks = np.clip(np.round(truth + rng.normal(0, 0.7, size=(4, 100))), 1, 5)
        people = {i: marks[i] for i in range(3)}
        shares.append(alternative_annotator(marks[3], people, clusters=np.arange(100) // 2, epsilon=0.2).winning_share)
    assert np.mean(shares) > 0.5


def test_false_passes_are_rare_at_the_border_of_the_hypothesis() -> None:
    # the judge loses to everyone by exactly ε on average: no test should reject more often than 5 %
    rng = np.random.default_rng(2)
    n_rejected = 0
    for _ in range(400):
        wins = rng.choice([1.0, -1.0], p=[0.4, 0.6], size=100)  # advantage −0.2
        marks = {"a": np.zeros(100), "b": np.zeros(100), "c": np.zeros(100)}
        judge = np.where(wins > 0, 0.0, 1.0)
        marks["a"] = np.where(wins > 0, 1.0, 0.0)
        test = alternative_annotator(judge, marks, clusters=np.arange(100) // 2, epsilon=0.2).tests[0]
        n_rejected += sure(test.p_value) < 0.05
    assert n_rejected / 400 <= 0.05 + 0.033


def test_what_the_test_needs_is_demanded() -> None:
    judge, people, clusters = panel(3, judge_noise=1)
    with pytest.raises(InputError, match="at least 3"):
        alternative_annotator(judge, {"ann": people["ann"], "ben": people["ben"]}, clusters=clusters, epsilon=0.1)
    with pytest.raises(InputError, match="before looking"):
        alternative_annotator(judge, people, clusters=clusters, epsilon=1.5)
    third = np.arange(100) % 3
    apart = {name: np.where(third == place, people[name], np.nan) for place, name in enumerate(people)}
    with pytest.raises(InputError, match="another marked too"):
        alternative_annotator(judge, apart, clusters=clusters, epsilon=0.1)


def test_gaps_leave_each_annotator_the_items_shared_with_others() -> None:
    judge, people, clusters = panel(4, judge_noise=0.3)
    people["ann"][:40] = np.nan
    people["dan"] = np.full(100, np.nan)
    people["dan"][:29] = 3
    result = alternative_annotator(judge, people, clusters=clusters, epsilon=0.15)
    assert {test.annotator: test.advantage.n for test in result.tests} == {"ann": 60, "ben": 100, "cat": 100}
    assert result.left_out == ("dan",)
    shares = [test.judge_share for test in result.tests]
    assert result.advantage_probability.value == pytest.approx(np.mean(shares))
    assert holds(result.advantage_probability, float(np.mean(shares)))


def test_repeatability_is_the_share_marked_the_same_twice() -> None:
    estimate = repeatability(["a", "b", "a", "b"], ["a", "b", "b", "b"], clusters=[1, 2, 3, 4])
    assert estimate.value == 0.75
    assert holds(estimate, 0.75)


def test_bland_altman_by_hand_and_its_errors_by_bootstrap() -> None:
    rng = np.random.default_rng(4)
    clusters = np.arange(300) // 3
    first = rng.normal(3, 1, size=300)
    second = first - 0.4 - rng.normal(0, 0.5, size=300)
    result = bland_altman(first, second, clusters=clusters)
    differences = first - second
    assert result.bias.value == pytest.approx(differences.mean())
    assert result.upper.value == pytest.approx(differences.mean() + 1.959964 * differences.std(ddof=1))
    drawn = differences.reshape(100, 3)[rng.integers(100, size=(3_000, 100))].reshape(3_000, 300)
    limits = drawn.mean(axis=1) - 1.959964 * drawn.std(axis=1, ddof=1)
    assert result.lower.se == pytest.approx(limits.std(), rel=0.08)
    assert holds(result.lower)
    assert ends(result.lower)[1] < result.bias.value
