"""Power by simulation from a pilot: clusters drawn from it, the CR2-t test on every draw.

Assumes nothing about the shape of the differences, but a pilot of few clusters knows little about them. The pilot's own
mean is taken out and replaced by the difference asked for.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from harness.errors import InputError
from harness.stats.paired import cr2, is_constant
from harness.stats.power import PowerAnswer, check_power, smallest_count, smallest_effect
from harness.stats.rows import (
    ClusterSums,
    Floats,
    Labels,
    check_columns,
    check_count,
    check_level,
    check_positive,
    code_labels,
    sum_clusters,
)

MAX_CLUSTERS = 20_000
BLOCK = 2_000_000  # drawn clusters held at a time
BISECTIONS = 30


def pilot_power(
    differences: ArrayLike,
    *,
    clusters: Labels,
    effect: float,
    n_clusters: int,
    rng: np.random.Generator,
    level: float = 0.95,
    n_tests: int = 1,
    n_draws: int = 2_000,
) -> PowerAnswer:
    """Probability that a true difference of `effect` is called with `n_clusters` clusters like the pilot's."""
    pilot = _checked_pilot(differences, clusters, n_draws=n_draws)
    check_positive("effect", effect)
    check_count("n_clusters", n_clusters, minimum=2)
    draws = _draw(pilot, n_clusters, n_draws=n_draws, rng=rng)
    power = draws.power(effect, threshold=_threshold(level, n_tests))
    return PowerAnswer(
        n=draws.n_prompts,
        n_clusters=n_clusters,
        effect=effect,
        power=power,
        sentence=(
            f"{n_clusters:,} clusters like the pilot's (about {draws.n_prompts:,} prompts) show a true difference of "
            f"{effect:g} with power {power:.0%}."
        ),
    )


def pilot_sample_size(
    differences: ArrayLike,
    *,
    clusters: Labels,
    effect: float,
    rng: np.random.Generator,
    power: float = 0.8,
    level: float = 0.95,
    n_tests: int = 1,
    n_draws: int = 2_000,
) -> PowerAnswer:
    """Clusters like the pilot's that show a true difference of `effect` with `power`.

    Raises InputError when 20,000 clusters would not do.
    """
    pilot = _checked_pilot(differences, clusters, n_draws=n_draws)
    check_positive("effect", effect)
    check_power(power)
    threshold = _threshold(level, n_tests)

    @functools.cache  # one look at chance for each number that is tried
    def drawn(n_clusters: int) -> _Draws:
        return _draw(pilot, n_clusters, n_draws=n_draws, rng=rng)

    found = smallest_count(lambda n: drawn(n).power(effect, threshold=threshold) >= power, above=1, limit=MAX_CLUSTERS)
    if found is None:
        raise InputError(f"`effect` of {effect:g} would take over {MAX_CLUSTERS:,} clusters: ask for a larger one")
    draws = drawn(found)
    return PowerAnswer(
        n=draws.n_prompts,
        n_clusters=found,
        effect=effect,
        power=draws.power(effect, threshold=threshold),
        sentence=(
            f"To show a true difference of {effect:g} with power {power:.0%}, judge about {draws.n_prompts:,} prompts "
            f"from {found:,} clusters like the pilot's."
        ),
    )


def pilot_detectable(
    differences: ArrayLike,
    *,
    clusters: Labels,
    n_clusters: int,
    rng: np.random.Generator,
    power: float = 0.8,
    level: float = 0.95,
    n_tests: int = 1,
    n_draws: int = 2_000,
) -> PowerAnswer:
    """Smallest true difference that `n_clusters` clusters like the pilot's show with `power`."""
    pilot = _checked_pilot(differences, clusters, n_draws=n_draws)
    check_count("n_clusters", n_clusters, minimum=2)
    check_power(power)
    threshold = _threshold(level, n_tests)
    draws = _draw(pilot, n_clusters, n_draws=n_draws, rng=rng)  # the same for every effect: power rises with it
    effect = smallest_effect(
        lambda effect: draws.power(effect, threshold=threshold) >= power,
        high=float(np.abs(pilot.residual_sums).max() / pilot.sizes.min()),
        bisections=BISECTIONS,
    )
    return PowerAnswer(
        n=draws.n_prompts,
        n_clusters=n_clusters,
        effect=effect,
        power=draws.power(effect, threshold=threshold),
        sentence=(
            f"{n_clusters:,} clusters like the pilot's (about {draws.n_prompts:,} prompts) show a true difference of "
            f"{effect:.3g} or more with power {power:.0%}."
        ),
    )


class _Draws:
    """What the CR2-t test needs of every draw of clusters: the mean without effect, its standard error, its df."""

    def __init__(self, blocks: list[Floats], n_prompts: int) -> None:
        self.mean, self.se, self.df = np.concatenate(blocks, axis=1)
        self.n_prompts = n_prompts  # of a typical draw

    def power(self, effect: float, *, threshold: float) -> float:
        """Share of draws whose two-sided p value is below `threshold` when the true difference is `effect`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p_values = 2 * special.stdtr(self.df, -np.abs(self.mean + effect) / self.se)
        return float(np.mean(p_values < threshold))


def _draw(pilot: ClusterSums, n_clusters: int, *, n_draws: int, rng: np.random.Generator) -> _Draws:
    rows = max(1, BLOCK // n_clusters)
    blocks, n_prompts = [], 0.0
    for start in range(0, n_draws, rows):
        drawn = rng.integers(pilot.n_clusters, size=(min(rows, n_draws - start), n_clusters))
        sizes = pilot.sizes[drawn]
        blocks.append(_cr2(pilot.residual_sums[drawn], sizes))
        n_prompts += float(sizes.sum())
    return _Draws(blocks, round(n_prompts / n_draws))


def _cr2(sums: Floats, sizes: Floats) -> Floats:
    """[3, draws] mean, CR2 standard error, Satterthwaite df of cluster sums and sizes [draws, clusters].

    An effect that is added to every row moves the mean alone.
    """
    mean = sums.sum(axis=1, keepdims=True) / sizes.sum(axis=1, keepdims=True)
    variance, df = cr2(sums - mean * sizes, sizes)
    return np.stack([mean[:, 0], np.sqrt(variance), df])


def _checked_pilot(differences: ArrayLike, clusters: Labels, *, n_draws: int) -> ClusterSums:
    (values,) = check_columns(differences=differences, clusters=clusters, minimum=2)
    check_count("n_draws", n_draws, minimum=100)
    pilot = sum_clusters(values, code_labels("clusters", clusters))
    if pilot.n_clusters < 3:
        raise InputError(f"`clusters` must be at least 3 in a pilot, got {pilot.n_clusters}: pilot more clusters")
    if is_constant(pilot, scale=float(np.abs(values).max())):
        raise InputError(
            f"`differences` must vary between clusters, got {pilot.mean:g} in each: a pilot without variance plans "
            "nothing"
        )
    return pilot


def _threshold(level: float, n_tests: int) -> float:
    return (1 - check_level(level)) / check_count("n_tests", n_tests)
