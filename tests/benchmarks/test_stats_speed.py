"""Speed of the statistics as ratios within one run; the absolute limits of the project beside them.

`pytest tests/benchmarks/test_stats_speed.py -s` prints the figures; `make bench` runs it, the ordinary suite does not.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness import stats

evalica = pytest.importorskip("evalica")


def fastest(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of a few calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def test_cluster_bootstrap_against_scipy_on_rows(record_property: Callable[[str, object], None]) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(3, 1, size=(10_000, 4))
    films = [f"film {i}" for i in rng.integers(60, size=10_000)]

    def ours() -> None:
        for criterion in range(4):
            stats.mean_estimate(table[:, criterion], clusters=films, rng=rng, n_resamples=10_000)

    def theirs() -> None:
        scipy_stats.bootstrap(
            (table,), np.mean, axis=0, n_resamples=10_000, method="percentile", batch=100, rng=np.random.default_rng(1)
        )

    mine, other = fastest(ours), fastest(theirs, 1)
    record_property("ratio", other / mine)
    print(f"cluster bootstrap-t {mine:.3f} s, scipy percentile on rows {other:.2f} s, ratio {other / mine:.0f}")
    assert mine < 0.2
    assert other / mine >= 20


def test_davidson_against_evalica_bradley_terry(record_property: Callable[[str, object], None]) -> None:
    rng = np.random.default_rng(1)
    n = 1_000_000
    names = np.array([f"variant-{i:02d}" for i in range(12)])
    strength = np.linspace(-1, 1, 12)
    left = rng.integers(12, size=n)
    right = (left + rng.integers(1, 12, size=n)) % 12
    eta = (strength[left] - strength[right]) / 2
    weights = np.column_stack([np.exp(eta), np.exp(-eta), np.full(n, 0.8)])
    outcome = (rng.random(n)[:, None] > np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)
    lefts, rights = names[left].tolist(), names[right].tolist()
    winners = np.array(["left", "right", "tie"])[outcome].tolist()
    films = [f"film {i}" for i in rng.integers(617, size=n)]
    their_winners = [(evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)[o] for o in outcome]
    found: dict[str, object] = {}

    def ours() -> None:
        found["fit"] = stats.fit_strengths(stats.read_votes(lefts, rights, winners, clusters=films))

    mine = fastest(ours)
    other = fastest(lambda: evalica.bradley_terry(lefts, rights, their_winners))
    record_property("ratio", other / mine)
    print(f"Davidson with clustered intervals {mine:.2f} s, evalica's point estimate {other:.2f} s")
    fit = found["fit"]
    assert isinstance(fit, stats.StrengthFit)
    assert [estimate.value for estimate in fit.strengths] == pytest.approx(strength, abs=0.02)
    assert mine <= other


def test_a_sequential_update_costs_the_same_always() -> None:
    rng = np.random.default_rng(2)
    race = stats.BettingSequence()
    values = rng.random(6_000)
    blocks = []
    for start in range(0, 6_000, 1_000):
        started = time.perf_counter()
        for value in values[start : start + 1_000]:
            race.update(float(value))
        blocks.append(time.perf_counter() - started)
    print(f"update: {min(blocks) / 1_000 * 1e6:.0f} µs")
    assert min(blocks[-3:]) <= 1.5 * min(blocks[:3])


def test_importing_the_statistics_costs_little_more_than_scipy() -> None:
    def seconds(code: str) -> float:
        timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        runs = [
            subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True) for _ in range(5)
        ]
        return min(float(run.stdout) for run in runs)

    everything = "import harness.stats as s; [getattr(s, name) for name in s.__all__]"
    bare, whole, scipy_alone = seconds("import harness.stats"), seconds(everything), seconds("import scipy.stats")
    print(f"import harness.stats {bare:.3f} s, all of its names {whole:.3f} s, scipy.stats {scipy_alone:.3f} s")
    assert bare <= 1.2 * scipy_alone
    assert whole <= 1.2 * scipy_alone
