from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from harness.errors import InputError
from harness.stats import mean_estimate_bca


def test_against_scipy_bootstrap_bca() -> None:
    values = np.random.default_rng(0).gamma(8, size=80)
    theirs = bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = mean_estimate_bca(values, clusters=range(80), rng=np.random.default_rng(2), n_resamples=20_000)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_few_clusters_and_strong_skew_are_refused() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(InputError, match="at least 60"):
        mean_estimate_bca(rng.normal(size=100), clusters=np.arange(100) % 20, rng=rng)
    with pytest.raises(InputError, match="skewness"):
        mean_estimate_bca(rng.lognormal(sigma=1.5, size=100), clusters=range(100), rng=rng)
    with pytest.raises(InputError, match="must vary"):
        mean_estimate_bca(np.ones(100), clusters=range(100), rng=rng)
