"""Rare rates, differences of rates, and equivalence at its margin: where few clusters and skewness meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from cell import Cell, Draw, covers
from families import FAMILIES, Floats, Layout, latent, layout, paired
from scipy import special

from harness import stats
from harness.stats.intervals import t_interval
from harness.stats.paired import contrast_of_differences
from harness.stats.verdicts import equivalence_interval

MARGIN = 0.3  # of the equivalence cells: the true difference lies on it


def rate_cells() -> Iterator[Cell]:
    for n_films in (6, 8, 20, 60):
        for icc in (0.0, 0.1, 0.3, 0.5):
            yield Cell(
                table="rates",
                name=f"5 % rate, {n_films} films, ICC {icc:g}",
                draw=_rate(n_films, icc),
                target_low=0.93,
            )
    for first, second in ((0.05, 0.05), (0.1, 0.05)):
        for n_films in (6, 10, 20):
            for icc in (0.1, 0.3):
                yield Cell(
                    table="differences of rates",
                    name=f"{first:.0%} against {second:.0%}, {n_films} films, ICC {icc:g}",
                    draw=_difference(first, second, n_films, icc),
                    target_low=0.92,
                )
    for name in ("normal", "exponential", "lognormal", "lognormal, its own pair", "5 % rate"):
        for n_films in (10, 20, 60):
            yield Cell(
                table="equivalence",
                name=f"{name}, {n_films} films, ICC 0.1",
                draw=_equivalence(name, n_films),
                counts="rejected",
                target_high=None if name == "lognormal" else 0.06,
            )


def _rate(n_films: int, icc: float) -> Draw:
    family = FAMILIES["5 % rate"]

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        films = layout(n_films, rng)
        values = family.of_normal(latent(films, icc, rng))
        hits["logit t"] += covers(stats.proportion_estimate(values, clusters=films.codes), family.mean)
        hits["CR2-t"] += covers(contrast_of_differences(values, clusters=films.codes).estimate, family.mean)
        wilson = stats.wilson_interval(float(values.sum()), len(values))
        hits["Wilson, rows independent"] += wilson.low <= family.mean <= wilson.high

    return draw


def _difference(first: float, second: float, n_films: int, icc: float) -> Draw:
    cuts = special.ndtri(1 - first), special.ndtri(1 - second)

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        films = layout(n_films, rng)
        a, b = (z > cut for z, cut in zip(paired(films, icc, rng), cuts, strict=True))
        test = stats.paired_contrast(a, b, clusters=films.codes)
        found = stats.within_range(test.estimate, low=-1, high=1)
        hits["CR2-t in [−1, 1]"] += covers(found, first - second)
        hits["outside [−1, 1]"] += not ((found.low or 0) >= -1 and (found.high or 0) <= 1)

    return draw


def _equivalence(name: str, n_films: int) -> Draw:
    """The true difference is the margin: whoever says "equivalent" errs."""

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        films = layout(n_films, rng)
        excess = _excess(name, films, rng)  # of the difference over its true value, which is the margin
        estimate = contrast_of_differences(excess, clusters=films.codes).estimate
        ours = equivalence_interval(estimate)
        hits["ends that mind skewness"] += ours is not None and ours.high < 0
        if estimate.se and estimate.df:
            plain = t_interval(estimate.value, estimate.se, estimate.df, level=0.9)
            hits["two t tests"] += plain.high < 0

    return draw


def _excess(name: str, films: Layout, rng: np.random.Generator) -> Floats:
    if name == "5 % rate":
        a, b = paired(films, 0.1, rng)
        return (a > special.ndtri(0.95)).astype(np.float64) - (b > special.ndtri(0.99)) - 0.04
    if name == "lognormal, its own pair":  # a control whose scores vary less than the treatment's
        a, b = paired(films, 0.1, rng)
        excess: Floats = np.exp(a / 2) - np.exp(b / 4) - (np.exp(1 / 8) - np.exp(1 / 32))
        return excess
    family = FAMILIES[name]
    return family.of_normal(latent(films, 0.1, rng)) - family.mean
