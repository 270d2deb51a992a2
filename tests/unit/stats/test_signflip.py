from __future__ import annotations

import numpy as np
import pytest
from certain import rng, sure
from scipy.stats import permutation_test

from harness.errors import InputError
from harness.stats import is_reachable, paired_contrast, require_reachable, sign_flip


def test_by_hand() -> None:
    # sums 1, 2, 3, 4, 5, −1: total 14; |total| ≥ 14 for the patterns with total ±14 or ±16: 2 + 2·2 of 64
    # (+16: all of 1, 1 positive; +14: one of the two ones flipped) → (1 + 2) · 2 / 64
    result = sign_flip([1, 2, 3, 4, 5, -1], np.zeros(6), clusters=range(6), rng=rng())
    assert result.p_value == 6 / 64
    assert "exchangeability" in result.note


def test_exact_against_scipy_permutation_test() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, size=11)
    theirs = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=10**9)
    assert sign_flip(values, np.zeros(11), clusters=range(11), rng=rng()).p_value == pytest.approx(theirs.pvalue)


def test_drawn_patterns_agree_with_counted_ones() -> None:
    from harness.stats.signflip import _drawn_p_value, _exact_p_value

    sums = np.random.default_rng(4).normal(0.5, 1, size=14)
    assert _drawn_p_value(sums, rng(), 40_000) == pytest.approx(_exact_p_value(sums), abs=0.008)


def test_rows_of_a_cluster_flip_together() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, size=40)
    clusters = np.arange(40) // 5
    sums = values.reshape(8, 5).sum(axis=1)
    one = sign_flip(values, np.zeros(40), clusters=clusters, rng=rng())
    assert one.p_value == sign_flip(sums, np.zeros(8), clusters=range(8), rng=rng()).p_value
    assert one.p_value == sign_flip(np.zeros(40), values, clusters=clusters, rng=rng()).p_value


def test_unreachable_families_keep_the_t_test_and_say_so() -> None:
    values = [3.0, 2.0, 4.0, 3.0, 2.5]
    result = sign_flip(values, [0.0] * 5, clusters=range(5), rng=rng())
    assert result.p_value == paired_contrast(values, [0.0] * 5, clusters=range(5)).p_value
    assert "cannot reach" in result.note


def test_reachability_is_two_over_two_to_the_clusters() -> None:
    assert is_reachable(6)  # 2 / 64 = 0.031
    assert not is_reachable(5)
    assert is_reachable(9, family_size=10)
    assert not is_reachable(8, family_size=10)
    require_reachable(9, family_size=10)
    with pytest.raises(InputError, match="at least 9"):
        require_reachable(8, family_size=10)


def test_type_one_error_under_swapped_labels_with_heavy_tails() -> None:
    generator = np.random.default_rng(6)
    n_draws, n_false = 1_500, 0
    for _ in range(n_draws):
        clusters = np.arange(40) // 5
        values = generator.standard_t(2, size=40) * np.repeat(generator.choice([-1, 1], size=8), 5)
        n_false += sure(sign_flip(values, np.zeros(40), clusters=clusters, rng=generator).p_value) <= 0.05
    assert n_false / n_draws <= 0.05 + 0.017
