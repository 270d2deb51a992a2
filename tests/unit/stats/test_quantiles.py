from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from certain import ends, holds, sure
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import quantile_contrasts, quantile_estimate, tail_asymmetry


@given(seed=st.integers(0, 1000), n=st.integers(2, 60), probability=st.floats(0.05, 0.95))
def test_value_against_numpy_inverted_cdf(seed: int, n: int, probability: float) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    estimate = quantile_estimate(values, probability, clusters=range(n))
    assert estimate.value == np.quantile(values, round(probability, 12), method="inverted_cdf")
    assert ends(estimate)[0] <= estimate.value <= ends(estimate)[1]


def test_increasing_scales_carry_the_interval_along() -> None:
    values = np.random.default_rng(1).normal(size=80)
    clusters = np.arange(80) // 4
    one = quantile_estimate(values, 0.25, clusters=clusters)
    other = quantile_estimate(np.exp(values), 0.25, clusters=clusters)
    assert np.exp(ends(one)) == pytest.approx(ends(other))


def test_the_far_tail_of_few_rows_says_that_its_interval_is_cut() -> None:
    estimate = quantile_estimate(np.arange(12.0), 0.05, clusters=np.arange(12))
    assert estimate.low == 0
    assert "too few clusters" in estimate.notes[0]


def test_impossible_probabilities_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        quantile_estimate([1, 2, 3], 10, clusters=[1, 2, 3])


CUTS = np.array([-1.2, -0.3, 1.6, 2.6])


def ordinal(latent: np.ndarray) -> Any:
    return 1.0 + (latent[:, None] > CUTS).sum(axis=1)


def paired_marks(seed: int, *, shift: float = 0.0, n_clusters: int = 25, rows: int = 12) -> tuple[Any, ...]:
    """1–5 marks with logistic noise, so that a latent shift is exactly proportional odds."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), rows)
    n = len(clusters)
    return ordinal(rng.logistic(size=n) + shift), ordinal(rng.logistic(size=n)), clusters


def test_asymmetry_value_against_statsmodels_logits_and_probits() -> None:
    treatment, control, clusters = paired_marks(1, shift=0.5)
    result = tail_asymmetry(treatment, control, clusters=clusters)
    arm = sm.add_constant(np.repeat([1.0, 0.0], len(treatment)))
    both = np.concatenate([treatment, control])
    for test, model in ((result.test, sm.Logit), (result.sensitivity, sm.Probit)):
        low = model((both <= 2).astype(float), arm).fit(disp=0).params[1]
        high = model((both >= 4).astype(float), arm).fit(disp=0).params[1]
        assert test.estimate.value == pytest.approx(-low - high, abs=1e-6)


def test_asymmetry_error_against_a_cluster_bootstrap() -> None:
    treatment, control, clusters = paired_marks(2, shift=0.3, n_clusters=40, rows=10)
    rng = np.random.default_rng(0)
    arms = np.stack([treatment, control]).reshape(2, 40, 10)

    def statistic(drawn: np.ndarray) -> Any:
        shares = np.stack([(drawn <= 2).mean(axis=(2, 3)), (drawn >= 4).mean(axis=(2, 3))])  # [cut, arm, resample]
        logits = np.log(shares / (1 - shares))
        return (logits[:, 1] - logits[:, 0]).sum(axis=0)

    drawn = statistic(arms[:, rng.integers(40, size=(2_000, 40))])
    assert tail_asymmetry(treatment, control, clusters=clusters).test.estimate.se == pytest.approx(
        drawn.std(), rel=0.08
    )


def test_a_tail_that_falls_alone_is_found() -> None:
    rng = np.random.default_rng(3)
    latent = rng.logistic(size=1200)
    clusters = np.arange(1200) // 30
    treatment = ordinal(np.where(latent < -0.3, latent + 0.9, latent))
    result = tail_asymmetry(treatment, ordinal(rng.logistic(size=1200)), clusters=clusters)
    assert ends(result.test.estimate)[0] > 0
    assert sure(result.test.p_value) < 0.01
    assert ends(result.sensitivity.estimate)[0] > 0


def test_turning_the_scale_turns_the_asymmetry() -> None:
    treatment, control, clusters = paired_marks(4, shift=0.4)
    one = tail_asymmetry(treatment, control, clusters=clusters).test.estimate
    other = tail_asymmetry(6 - treatment, 6 - control, clusters=clusters).test.estimate
    assert (one.value, one.low) == pytest.approx((other.value, other.low))  # both tails trade places and sign
    swapped = tail_asymmetry(control, treatment, clusters=clusters).test.estimate
    assert one.value == pytest.approx(-swapped.value)


def test_an_empty_tail_is_refused() -> None:
    with pytest.raises(InputError, match="move `low` or `high`"):
        tail_asymmetry([3, 3, 4], [3, 2, 4], clusters=[1, 2, 3])
    with pytest.raises(InputError, match="must be below"):
        tail_asymmetry([3, 3, 4], [3, 2, 4], clusters=[1, 2, 3], low=4, high=2)


def test_quantile_contrasts_by_value_and_bands() -> None:
    rng = np.random.default_rng(5)
    clusters = np.arange(300) // 10
    control = rng.normal(size=300)
    result = quantile_contrasts(control + 1, control, clusters=clusters, rng=rng, n_resamples=300)
    assert [e.value for e in result.simultaneous] == pytest.approx([1.0] * 5)
    other = rng.normal(size=300)
    result = quantile_contrasts(control, other, clusters=clusters, rng=rng, probabilities=(0.25, 0.75), n_resamples=500)
    for p, band in zip((0.25, 0.75), result.simultaneous, strict=True):
        expected = np.quantile(control, p, method="inverted_cdf") - np.quantile(other, p, method="inverted_cdf")
        assert band.value == pytest.approx(expected)
        assert holds(band, expected)


def test_quantile_bands_refuse_a_five_point_scale() -> None:
    treatment, control, clusters = paired_marks(6)
    with pytest.raises(InputError, match="proportion_estimate"):
        quantile_contrasts(treatment, control, clusters=clusters, rng=np.random.default_rng(0))


def test_simultaneous_bands_cover_all_quantiles_at_once() -> None:
    rng = np.random.default_rng(7)
    n_draws, hits = 200, 0
    for _ in range(n_draws):
        a, b = rng.normal(size=(2, 240))
        result = quantile_contrasts(
            a, b, clusters=np.arange(240) // 6, rng=rng, probabilities=(0.25, 0.5, 0.75), n_resamples=300
        )
        hits += all(holds(band, 0) for band in result.simultaneous)
    assert hits / n_draws >= 0.95 - 0.05
