from __future__ import annotations

import numpy as np
import pytest

from harness.errors import InputError
from harness.stats import (
    cliffs_delta,
    cohens_dz,
    intraclass_correlation,
    paired_contrast,
    smallest_effect_in_units,
    superiority,
)
from harness.types import SmallestEffect


def test_dz_by_hand_and_its_error_against_a_bootstrap() -> None:
    assert cohens_dz([1, 2, 3], [0, 0, 0], clusters=[1, 2, 3]).value == pytest.approx(2.0)  # mean 2, sd 1
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(0.5, 1, size=400), np.arange(400) // 4
    estimate = cohens_dz(values, np.zeros(400), clusters=clusters)
    groups = values.reshape(100, 4)
    drawn = groups[rng.integers(100, size=(4_000, 100))].reshape(4_000, 400)
    assert estimate.se == pytest.approx((drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)).std(), rel=0.06)
    assert estimate.low < estimate.value < estimate.high


def test_dz_does_not_depend_on_the_unit_and_needs_variation() -> None:
    rng = np.random.default_rng(1)
    a, b, clusters = rng.normal(size=20), rng.normal(size=20), np.arange(20) // 2
    one, other = cohens_dz(a, b, clusters=clusters), cohens_dz(7 * a, 7 * b, clusters=clusters)
    assert (one.value, one.low) == pytest.approx((other.value, other.low))
    with pytest.raises(InputError, match="must vary"):
        cohens_dz([2, 3], [1, 2], clusters=[1, 2])


def test_cliffs_delta_by_hand() -> None:
    # pairs (2, 1) > , (2, 2) = , (3, 1) > , (3, 2) > : 3 / 4
    estimate = cliffs_delta([2, 3], [1, 2], treatment_clusters=[1, 2], control_clusters=[1, 2])
    assert estimate.value == pytest.approx(0.75)
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_superiority_counts_ties_half() -> None:
    estimate = superiority([3, 2, 1, 5], [1, 2, 3, 4], clusters=[1, 2, 3, 4])
    assert estimate.value == pytest.approx(2.5 / 4)
    assert "superiority" in estimate.method


def test_smallest_effects_in_the_unit_of_the_scores() -> None:
    control = np.arange(1.0, 11.0)
    assert smallest_effect_in_units(SmallestEffect(value=0.3, unit="points"), control) == 0.3
    by_sd = smallest_effect_in_units(SmallestEffect(value=0.5, unit="sd_of_control"), control)
    assert by_sd == pytest.approx(0.5 * control.std(ddof=1))
    assert smallest_effect_in_units(SmallestEffect(value=0.2, unit="quantile_of_control"), control) == 2.0
    with pytest.raises(InputError, match="hardly varies"):
        smallest_effect_in_units(SmallestEffect(value=0.5, unit="sd_of_control"), [3, 3, 3])
    with pytest.raises(InputError, match=r"between 0 and 0\.5"):
        smallest_effect_in_units(SmallestEffect(value=0.7, unit="quantile_of_control"), control)
    with pytest.raises(InputError, match="above 0"):
        smallest_effect_in_units(SmallestEffect(value=0, unit="points"), control)


def test_intraclass_correlation_recovers_the_share_of_the_clusters() -> None:
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(400), rng.integers(2, 9, size=400))
    values = np.sqrt(0.3) * rng.normal(size=400)[clusters] + np.sqrt(0.7) * rng.normal(size=len(clusters))
    assert intraclass_correlation(values, clusters=clusters) == pytest.approx(0.3, abs=0.05)
    assert intraclass_correlation([1, 2, 1, 2], clusters=[0, 0, 1, 1]) == 0
    with pytest.raises(InputError, match="share a cluster"):
        intraclass_correlation([1, 2, 3], clusters=[0, 1, 2])


def test_wider_variance_of_the_pairs_lowers_dz_not_the_difference() -> None:
    a, b = np.array([1.0, 3.0, 2.0, 2.0]), np.zeros(4)
    assert cohens_dz(a, b, clusters=range(4)).n == paired_contrast(a, b, clusters=range(4)).estimate.n
