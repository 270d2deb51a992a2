"""What would settle a contrast over crossed seeds and films: how many more seeds, or how many more films?

The variances of `crossed` are taken apart and scaled as their parts shrink: what seeds add with seeds, what films add
with films, cell noise with both. The interval is then that of `crossed.spread_of`, guards included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from harness.stats.crossed import CrossedParts, crossed_parts, spread_of
from harness.stats.intervals import t_quantile
from harness.stats.rows import Labels, check_level, check_positive, check_same_length, check_values, code_labels

MAX_SEEDS = 200
MAX_FILMS = 20_000
MAX_TIMES = 100
POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedPlan:
    """The smallest numbers that show a difference with the wanted power; None: no number up to the limit does."""

    n_seeds: int | None  # in all, with the films at hand
    n_films: int | None  # in all, with the seeds at hand
    n_times: int | None  # as many times the seeds and the films at hand, together
    effect: float


def crossed_plan(
    differences: ArrayLike,
    *,
    seeds: Labels,
    clusters: Labels,
    effect: float,
    level: float = 0.95,
    n_tests: int = 1,
    power: float = POWER,
) -> CrossedPlan | None:
    """How many seeds, or how many films, show a true difference of `effect`; None with one seed or one film.

    Args:
        differences: paired differences [n], one per seed and prompt: the pilot.
        seeds: the training seed of each.
        clusters: the film of each.
        effect: true difference to be shown, above 0.
        level: confidence level of the claim.
        n_tests: size of the declared family, paid for as Holm's first step does.
        power: probability of showing it.
    """
    values = check_values("differences", differences)
    check_same_length(differences=values, seeds=seeds, clusters=clusters)
    check_level(level)
    check_positive("effect", effect)
    rows, columns = code_labels("seeds", seeds), code_labels("clusters", clusters)
    if min(rows.n_labels, columns.n_labels) < 2:
        return None
    parts = crossed_parts(values - values.mean(), rows, columns)

    def is_enough(n_seeds: int, n_films: int) -> bool:
        tail = (1 - level) / (2 * n_tests)
        scaled = _scaled(parts, n_seeds / rows.n_labels, n_films / columns.n_labels)
        spread = spread_of(scaled, level=1 - 2 * tail)
        return effect >= spread.se * (t_quantile(1 - tail, spread.df) + t_quantile(power, spread.df))

    return CrossedPlan(
        n_seeds=_smallest(lambda n: is_enough(n, columns.n_labels), start=rows.n_labels, limit=MAX_SEEDS),
        n_films=_smallest(lambda n: is_enough(rows.n_labels, n), start=columns.n_labels, limit=MAX_FILMS),
        n_times=_smallest(lambda n: is_enough(n * rows.n_labels, n * columns.n_labels), start=1, limit=MAX_TIMES),
        effect=effect,
    )


def _scaled(parts: CrossedParts, seeds: float, films: float) -> CrossedParts:
    """What that many times the seeds and films would show of the same parts."""
    cells = min(parts.cells, parts.columns)
    noise = cells / (seeds * films)
    return replace(
        parts,
        rows=max(0.0, parts.rows - parts.cells) / seeds + noise,
        columns=(parts.columns - cells) / films + noise,
        cells=noise,
        rows_df=(parts.rows_df + 1) * seeds - 1,
        columns_df=(parts.columns_df + 1) * films - 1,
    )


def _smallest(is_enough: Callable[[int], bool], *, start: int, limit: int) -> int | None:
    """The smallest number from `start` on that is enough; enough stays enough when more is added."""
    if not is_enough(limit):
        return None
    low, high = start - 1, limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def detectable_in_seed_deviations(n_seeds: int, *, level: float = 0.95, power: float = POWER) -> float:
    """Smallest difference that `n_seeds` show, in standard deviations between seeds, however many films there are."""
    df = n_seeds - 1
    return (t_quantile((1 + level) / 2, df) + t_quantile(power, df)) / math.sqrt(n_seeds)
