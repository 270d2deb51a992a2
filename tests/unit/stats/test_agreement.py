from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from certain import golden, holds, rng
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import cohens_kappa, fleiss_kappa, krippendorff_alpha

GOLDEN = golden("agreement")
SCALES = ("nominal", "ordinal", "interval")


@pytest.mark.parametrize("scale", SCALES)
def test_alpha_against_krippendorffs_published_example_and_his_package(scale: Any) -> None:
    observers = np.array([[np.nan if v is None else v for v in row] for row in GOLDEN["observers"]])
    estimate = krippendorff_alpha(observers.T, scale=scale, clusters=range(12), rng=rng())
    assert estimate.value == pytest.approx(GOLDEN["published_alpha"][scale], abs=5e-4)
    assert estimate.value == pytest.approx(GOLDEN["krippendorff_alpha"][scale])
    assert estimate.n == 11  # the unit with one mark cannot agree with anything


@pytest.mark.parametrize("scale", SCALES)
def test_alpha_of_complete_marks(scale: Any) -> None:
    estimate = krippendorff_alpha(GOLDEN["marks"], scale=scale, clusters=np.arange(80) // 4, rng=rng())
    assert estimate.value == pytest.approx(GOLDEN["marks_alpha"][scale])
    assert holds(estimate)
    assert estimate.n_clusters == 20


def test_fleiss_against_the_published_table_and_statsmodels() -> None:
    marks = [np.repeat(np.arange(5), counts) for counts in GOLDEN["fleiss_counts"]]
    estimate = fleiss_kappa(marks, clusters=range(10), rng=rng())
    assert estimate.value == pytest.approx(GOLDEN["published_fleiss"], abs=5e-4)
    assert estimate.value == pytest.approx(GOLDEN["statsmodels_fleiss"])
    assert fleiss_kappa(GOLDEN["marks"], clusters=range(80), rng=rng()).value == pytest.approx(GOLDEN["marks_fleiss"])


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_cohen_against_sklearn(weights: Any) -> None:
    marks = np.array(GOLDEN["marks"])
    estimate = cohens_kappa(marks[:, 0], marks[:, 1], clusters=np.arange(80) // 4, rng=rng(), weights=weights)
    assert estimate.value == pytest.approx(GOLDEN["sklearn_cohen"][weights])


def test_cohen_by_hand() -> None:
    # yes/yes 20, yes/no 5, no/yes 10, no/no 15: observed 0.7, expected 0.5 · 0.6 + 0.5 · 0.4 = 0.5 → 0.4
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    estimate = cohens_kappa(first, second, clusters=range(50), rng=rng())
    assert estimate.value == pytest.approx(0.4)
    assert estimate.se == pytest.approx(0.127, abs=0.012)  # asymptotic formula of Fleiss, Cohen & Everitt (1969)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_swapping_raters_and_relabelling_categories(seed: int) -> None:
    generator = np.random.default_rng(seed)
    marks = np.append(generator.integers(1, 5, size=(20, 2)), [[1, 2], [4, 1]], axis=0)
    clusters = np.arange(22) // 2
    one = cohens_kappa(marks[:, 0], marks[:, 1], clusters=clusters, rng=rng(), n_resamples=100)
    other = cohens_kappa(marks[:, 1], marks[:, 0], clusters=clusters, rng=rng(), n_resamples=100)
    renamed = cohens_kappa((9 - marks[:, 0]).tolist(), 9 - marks[:, 1], clusters=clusters, rng=rng(), n_resamples=100)
    assert one.value == pytest.approx(other.value)
    assert one.low == pytest.approx(renamed.low)
    alpha = krippendorff_alpha(marks, scale="interval", clusters=clusters, rng=rng(), n_resamples=100)
    scaled = krippendorff_alpha(3 * marks + 7, scale="interval", clusters=clusters, rng=rng(), n_resamples=100)
    assert alpha.value == pytest.approx(scaled.value)
    assert alpha.low == pytest.approx(scaled.low)


def test_perfect_agreement_and_one_category() -> None:
    assert cohens_kappa([1, 2, 1], [1, 2, 1], clusters=[1, 2, 3], rng=rng()).notes == (
        "perfect agreement: no interval",
    )
    with pytest.raises(InputError, match="two categories"):
        cohens_kappa([1, 1], [1, 1], clusters=[1, 2], rng=rng())


def test_unusable_marks_are_refused() -> None:
    with pytest.raises(InputError, match="krippendorff_alpha"):
        fleiss_kappa([[1.0, np.nan], [1.0, 2.0]], clusters=[1, 2], rng=rng())
    with pytest.raises(InputError, match="two marks"):
        krippendorff_alpha([[1, np.nan], [np.nan, 2]], scale="nominal", clusters=[1, 2], rng=rng())
    with pytest.raises(InputError, match="ordinal"):
        krippendorff_alpha([[1, 2]], scale="ratio", clusters=[1], rng=rng())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="numbers for weighted"):
        cohens_kappa(["good", "bad"], ["bad", "good"], clusters=[1, 2], rng=rng(), weights="linear")
    with pytest.raises(InputError, match="at least 2 raters"):
        fleiss_kappa([1, 2], clusters=[1, 2], rng=rng())
