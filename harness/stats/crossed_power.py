"""Planning over crossed seeds and clusters: how many settle a contrast, what is seen, how surely.

The variances of `crossed` are taken apart and scaled as their parts shrink: what seeds add with seeds, what clusters
add with clusters, cell noise with both. The interval is then that of `crossed.spread_of`, guards included, and power
that of a t test of such an interval, P(T > t − effect / se).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike
from scipy import special

from harness.errors import InputError
from harness.stats.crossed import CrossedParts, crossed_parts, spread_of
from harness.stats.intervals import t_quantile
from harness.stats.power import PowerAnswer, check_power, smallest_count, smallest_effect
from harness.stats.rows import (
    Labels,
    check_count,
    check_level,
    check_positive,
    check_same_length,
    check_values,
    code_labels,
)

FEWEST_SEEDS = 3  # two are refused: one degree of freedom
MAX_SEEDS = 200
MAX_CLUSTERS = 20_000
MAX_TIMES = 100
POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDesign:
    """What is known of a contrast over seeds × clusters before the run; from `seed_pilot` or `seed_shares`."""

    parts: CrossedParts  # of the mean over `n_seeds` and `n_clusters`
    n_seeds: int
    n_clusters: int
    level: float = 0.95
    n_tests: int = 1  # size of the declared family, paid for as Holm's first step does

    @property
    def seed_share(self) -> float:
        """How much of the variance of one training's mean comes from its seed, however many clusters there are."""
        of_seeds = max(0.0, self.parts.rows - self.parts.cells) * self.n_seeds
        total = of_seeds + self.parts.columns + self.parts.cells * (self.n_seeds - 1)
        return of_seeds / total if total > 0 else 0.0

    def power(self, effect: float, *, n_seeds: int, n_clusters: int) -> float:
        """Probability that a true difference of `effect` is called."""
        tail = (1 - self.level) / (2 * self.n_tests)
        spread = spread_of(self._scaled(n_seeds / self.n_seeds, n_clusters / self.n_clusters), level=1 - 2 * tail)
        if spread.se == 0:
            return 1.0
        return float(special.stdtr(spread.df, effect / spread.se - t_quantile(1 - tail, spread.df)))

    def _scaled(self, seeds: float, clusters: float) -> CrossedParts:
        """What that many times the seeds and clusters would show of the same parts."""
        parts = self.parts
        cells = min(parts.cells, parts.columns)
        noise = cells / (seeds * clusters)
        return replace(
            parts,
            rows=max(0.0, parts.rows - parts.cells) / seeds + noise,
            columns=(parts.columns - cells) / clusters + noise,
            cells=noise,
            rows_df=(parts.rows_df + 1) * seeds - 1,
            columns_df=(parts.columns_df + 1) * clusters - 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedPlan:
    """The smallest numbers that show a difference with the wanted power; None: no number up to the limit does."""

    n_seeds: int | None  # in all, with the clusters at hand
    n_clusters: int | None  # in all, with the seeds at hand
    n_times: int | None  # as many times the seeds and the clusters at hand, together
    effect: float


def seed_pilot(
    differences: ArrayLike, *, seeds: Labels, clusters: Labels, level: float = 0.95, n_tests: int = 1
) -> SeedDesign:
    """The components of paired differences [n], one per seed and prompt; InputError with one seed or one cluster."""
    values = check_values("differences", differences)
    check_same_length(differences=values, seeds=seeds, clusters=clusters)
    rows, columns = code_labels("seeds", seeds), code_labels("clusters", clusters)
    for name, coded in (("seeds", rows), ("clusters", columns)):
        if coded.n_labels < 2:
            raise InputError(f"`{name}` must be at least 2 to show how far they scatter, got 1: take a larger pilot")
    parts = crossed_parts(values - values.mean(), rows, columns)
    return SeedDesign(
        parts=parts,
        n_seeds=rows.n_labels,
        n_clusters=columns.n_labels,
        level=check_level(level),
        n_tests=check_count("n_tests", n_tests),
    )


def seed_shares(sd: float, *, seed_share: float, n_clusters: int, level: float = 0.95, n_tests: int = 1) -> SeedDesign:
    """The same from what one knows: `sd` of cluster means within one training, and what the seed adds.

    What clusters add is taken as the same for every seed, which errs on the wide side.
    """
    check_positive("sd", sd)
    if not 0 <= seed_share < 1:
        raise InputError(f"`seed_share` must lie in [0, 1), got {seed_share}: 0 is no scatter between seeds, 0.9 much")
    clusters = sd**2 / check_count("n_clusters", n_clusters, minimum=2)
    parts = CrossedParts(
        rows=seed_share / (1 - seed_share) * clusters,
        columns=clusters,
        cells=0.0,
        rows_df=0.0,
        columns_df=n_clusters - 1.0,
        columns_skewness=0.0,
    )
    return SeedDesign(
        parts=parts, n_seeds=1, n_clusters=n_clusters, level=check_level(level), n_tests=check_count("n_tests", n_tests)
    )


def seeds_power(design: SeedDesign, *, effect: float, n_seeds: int, n_clusters: int | None = None) -> PowerAnswer:
    """Probability that a true difference of `effect` is called with `n_seeds` seeds."""
    check_positive("effect", effect)
    clusters = _checked(design, n_seeds, n_clusters)
    power = design.power(effect, n_seeds=n_seeds, n_clusters=clusters)
    sentence = (
        f"{n_seeds:,} seeds on {clusters:,} clusters show a true difference of {effect:g} with power {power:.0%}."
    )
    return PowerAnswer(n=n_seeds, n_clusters=clusters, effect=effect, power=power, sentence=sentence)


def seeds_sample_size(
    design: SeedDesign, *, effect: float, n_clusters: int | None = None, power: float = POWER
) -> PowerAnswer:
    """Smallest number of seeds that shows a true difference of `effect` with `power`; InputError above 200."""
    check_positive("effect", effect)
    check_power(power)
    clusters = _checked(design, FEWEST_SEEDS, n_clusters)
    found = smallest_count(
        lambda n: design.power(effect, n_seeds=n, n_clusters=clusters) >= power, above=FEWEST_SEEDS - 1, limit=MAX_SEEDS
    )
    if found is None:
        raise InputError(
            f"`effect` of {effect:g} would take over {MAX_SEEDS} seeds on {clusters:,} clusters: take more of these, "
            "or ask for a larger one"
        )
    sentence = (
        f"To show a true difference of {effect:g} with power {power:.0%}, train {found:,} seeds and judge them on "
        f"{clusters:,} clusters."
    )
    reached = design.power(effect, n_seeds=found, n_clusters=clusters)
    return PowerAnswer(n=found, n_clusters=clusters, effect=effect, power=reached, sentence=sentence)


def seeds_detectable(
    design: SeedDesign, *, n_seeds: int, n_clusters: int | None = None, power: float = POWER
) -> PowerAnswer:
    """Smallest true difference that `n_seeds` seeds show with `power`."""
    check_power(power)
    clusters = _checked(design, n_seeds, n_clusters)
    effect = smallest_effect(
        lambda effect: design.power(effect, n_seeds=n_seeds, n_clusters=clusters) >= power,
        high=max(1e-12, math.sqrt(design.parts.rows + design.parts.columns)),
    )
    sentence = (
        f"{n_seeds:,} seeds on {clusters:,} clusters show a true difference of {effect:.3g} or more with power "
        f"{power:.0%}."
    )
    return PowerAnswer(n=n_seeds, n_clusters=clusters, effect=effect, power=power, sentence=sentence)


def crossed_plan(design: SeedDesign, *, effect: float, power: float = POWER) -> CrossedPlan:
    """How many seeds, how many clusters, or both together show a true difference of `effect`, above 0."""
    check_positive("effect", effect)
    n_seeds, n_clusters = design.n_seeds, design.n_clusters

    def is_enough(seeds: int, clusters: int) -> bool:
        return design.power(effect, n_seeds=seeds, n_clusters=clusters) >= power

    return CrossedPlan(
        n_seeds=smallest_count(lambda n: is_enough(n, n_clusters), above=n_seeds - 1, limit=MAX_SEEDS),
        n_clusters=smallest_count(lambda n: is_enough(n_seeds, n), above=n_clusters - 1, limit=MAX_CLUSTERS),
        n_times=smallest_count(lambda n: is_enough(n * n_seeds, n * n_clusters), above=0, limit=MAX_TIMES),
        effect=effect,
    )


def detectable_in_seed_deviations(n_seeds: int, *, level: float = 0.95, power: float = POWER) -> float:
    """Smallest difference that `n_seeds` show, in standard deviations between seeds, on any number of clusters."""
    df = n_seeds - 1
    return (t_quantile((1 + level) / 2, df) + t_quantile(power, df)) / math.sqrt(n_seeds)


def _checked(design: SeedDesign, n_seeds: int, n_clusters: int | None) -> int:
    """The clusters of the plan; too few of either are refused, and a pilot that knows of no scatter."""
    if design.parts.rows + design.parts.columns <= 0:
        raise InputError("`differences` must vary between seeds or clusters, got one value: take another measure")
    if n_seeds < FEWEST_SEEDS:
        raise InputError(
            f"`n_seeds` must be at least {FEWEST_SEEDS}, got {n_seeds}: fewer do not tell how far trainings scatter"
        )
    return design.n_clusters if n_clusters is None else check_count("n_clusters", n_clusters, minimum=2)
