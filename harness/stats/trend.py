"""Trends over ordered arms (0.5B, 1.5B, 3B; NEFTune 0, 5, 10, 15), and how much training seeds matter."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from harness.errors import InputError
from harness.stats.outcomes import TestResult
from harness.stats.paired import contrast_of_differences
from harness.stats.proportions import within_range
from harness.stats.rows import (
    Codes,
    Floats,
    Labels,
    check_count,
    check_level,
    check_same_length,
    check_values,
    code_labels,
)
from harness.types import Estimate

_TIED = 1e-12  # of the largest value: means that lie nearer differ by the order of their sums, and by the machine
_ROUNDING = 1e-14  # of the squares that were subtracted: a smaller excess is no variance


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedComponents:
    """Variance of film means from training seed, film and the rest (their interaction and sampling)."""

    seed: Estimate  # variance between seeds
    film: float  # variance between films
    rest: float  # variance of a film's mean around both
    seed_share: float  # of the variance of one seed's overall mean, the part that more films would not remove


def page_trend(
    values: ArrayLike,
    arms: Sequence[Hashable],
    order: Sequence[Hashable],
    *,
    clusters: Labels,
    rng: np.random.Generator,
    level: float = 0.95,
    n_permutations: int = 20_000,
) -> TestResult:
    """Page's trend test (1963) over arms in `order`, films as blocks: ranks of an arm's film means within each film.

    The estimate is Page's average rank correlation between `order` and the film's own ranking (1: every film rises),
    a mean over films with its t interval. The p value is two-sided, from permuting the arms within each film
    (`n_permutations` drawn, the observed one counted). Films that lack an arm are left out and counted as missing.
    Raises InputError with fewer than three arms or an arm that `order` does not name.
    """
    array = check_values("values", values)
    check_same_length(values=array, arms=arms, clusters=clusters)
    check_level(level)
    check_count("n_permutations", n_permutations, minimum=1_000)
    means, n_missing = _film_means(array, _places(arms, order), len(order), clusters)
    ranks = (len(order) + 1 + _signs(means).sum(axis=2)) / 2  # [films, arms], mid-ranks
    steps = np.arange(1, len(order) + 1) - (len(order) + 1) / 2
    per_film = ranks @ steps / float(steps @ steps)  # rank correlation of each film with the order
    result = contrast_of_differences(
        per_film,
        clusters=np.arange(len(per_film)),
        level=level,
        n_missing=n_missing,
        scale=1.0,
        method="Page's average rank correlation over film means, t over films",
    )
    permuted = np.zeros(n_permutations)
    for row in ranks:
        shuffled = rng.permuted(np.broadcast_to(row, (n_permutations, len(row))), axis=1)
        permuted += shuffled @ steps
    observed = abs(float((ranks @ steps).sum()))
    p_value = (1 + np.count_nonzero(np.abs(permuted) >= observed - 1e-9)) / (1 + n_permutations)
    return TestResult(
        estimate=replace(within_range(result.estimate, low=-1, high=1), row="cluster"),
        p_value=float(p_value),
        statistic=float((ranks @ np.arange(1, len(order) + 1)).sum()),
        note="arms permuted within film; statistic is Page's L",
    )


def jonckheere(
    values: ArrayLike,
    arms: Sequence[Hashable],
    order: Sequence[Hashable],
    *,
    runs: Sequence[Hashable],
    rng: np.random.Generator,
    level: float = 0.95,
    n_permutations: int = 20_000,
) -> TestResult:
    """Jonckheere–Terpstra trend test over independent training runs, one value a run; two-sided permutation p value.

    The estimate is (concordant − discordant) / pairs of runs of different arms, in [−1, 1]; few runs carry no interval.
    Rows of one run are not independent: a run that comes twice is refused.
    """
    array = check_values("values", values, minimum=3)
    check_same_length(values=array, arms=arms, runs=runs)
    check_level(level)
    if len(set(runs)) != len(array):
        raise InputError("`runs` must name each training run once, got repeats: average a run's rows first")
    level_of = _places(arms, order)
    signs = _signs(array)
    n_pairs = np.count_nonzero(level_of[:, None] - level_of[None, :]) / 2
    if n_pairs == 0:
        raise InputError("`arms` must hold at least 2 of `order`, got one: a trend needs levels")
    score = _score(level_of, signs)
    permuted = np.array([_score(level_of[rng.permutation(len(array))], signs) for _ in range(n_permutations)])
    p_value = (1 + np.count_nonzero(np.abs(permuted) >= abs(score) - 1e-9)) / (1 + n_permutations)
    estimate = Estimate(
        value=score / n_pairs,
        low=None,
        high=None,
        level=level,
        n=len(array),
        n_clusters=len(array),
        n_missing=0,
        method="Jonckheere–Terpstra over training runs, permutation",
        notes=("rank test over few runs: no interval",),
        row="run",
        cluster="run",
    )
    statistic = (score + n_pairs) / 2
    return TestResult(
        estimate=estimate, p_value=float(p_value), statistic=statistic, note="statistic is Jonckheere's J"
    )


def seed_components(values: ArrayLike, *, seeds: Labels, clusters: Labels, level: float = 0.95) -> SeedComponents:
    """Variance components of film means over crossed seeds and films (two-way random effects, ANOVA estimators).

    The interval of the seed variance is Williams' and Tukey's (1962, 1951), which takes normal effects; with three
    seeds it spans orders of magnitude, and that is the message. Films that lack a seed are left out and counted as
    missing.
    """
    array = check_values("values", values)
    check_same_length(values=array, seeds=seeds, clusters=clusters)
    check_level(level)
    coded = code_labels("seeds", seeds)
    if coded.n_labels < 2:
        raise InputError(f"`seeds` must be at least 2, got {coded.n_labels}: add seeds")
    means, n_missing = _film_means(array, coded.codes, coded.n_labels, clusters)
    table = means.T  # [seeds, films]
    n_seeds, n_films = table.shape
    if n_films < 2:
        raise InputError("`clusters` must hold at least 2 with every seed, got 1: generate for more of them")
    by_seed, by_film, centre = table.mean(axis=1), table.mean(axis=0), float(table.mean())
    ms_seed = n_films * float(np.sum((by_seed - centre) ** 2)) / (n_seeds - 1)
    ms_film = n_seeds * float(np.sum((by_film - centre) ** 2)) / (n_films - 1)
    df_rest = (n_seeds - 1) * (n_films - 1)
    ms_rest = float(np.sum((table - by_seed[:, None] - by_film[None, :] + centre) ** 2)) / df_rest
    excess = ms_seed - ms_rest
    is_rounding = excess <= _ROUNDING * (ms_rest + ms_film + centre**2)  # what equal seeds leave
    seed = 0.0 if is_rounding else excess / n_films
    ends = [_williams_tukey(ms_seed, ms_rest, n_seeds, n_films, df_rest, q) for q in ((1 + level) / 2, (1 - level) / 2)]
    estimate = Estimate(
        value=seed,
        low=ends[0],
        high=ends[1],
        level=level,
        n=n_seeds * n_films,
        n_clusters=n_seeds,
        n_missing=n_missing,
        method="variance between seeds, ANOVA, Williams–Tukey interval",
        df=float(n_seeds - 1),
        notes=(f"{n_seeds} seeds: {n_seeds - 1} degrees of freedom",),
        row="mean",
        cluster="seed",
    )
    total = seed + ms_rest / n_films
    return SeedComponents(
        seed=estimate,
        film=max(0.0, (ms_film - ms_rest) / n_seeds),
        rest=ms_rest,
        seed_share=seed / total if total > 0 else 0.0,
    )


def _williams_tukey(ms_seed: float, ms_rest: float, n_seeds: int, n_films: int, df_rest: int, q: float) -> float:
    chi2 = float(special.chdtri(n_seeds - 1, 1 - q))
    f = float(special.fdtri(n_seeds - 1, df_rest, q))
    return max(0.0, (n_seeds - 1) * (ms_seed - f * ms_rest) / (n_films * chi2))


def _film_means(values: Floats, arms: Codes, n_arms: int, clusters: Labels) -> tuple[Floats, int]:
    """[complete films, arms in order] means, and the number of films left out."""
    coded = code_labels("clusters", clusters)
    cell, size = coded.codes * n_arms + arms, coded.n_labels * n_arms
    counts = np.bincount(cell, minlength=size).reshape(-1, n_arms)
    sums = np.bincount(cell, weights=values, minlength=size).reshape(-1, n_arms)
    complete = (counts > 0).all(axis=1)
    if not complete.any():
        raise InputError("`clusters` must hold one with every arm, got none: generate for the same ones")
    return sums[complete] / counts[complete], int((~complete).sum())


def _places(arms: Sequence[Hashable], order: Sequence[Hashable]) -> Codes:
    """[n] the place of each row's arm in `order`."""
    if len(set(order)) != len(order) or len(order) < 2:
        raise InputError(f"`order` must name at least 2 different arms, got {list(order)}: smallest first")
    place = {arm: i for i, arm in enumerate(order)}
    if unknown := [arm for arm in arms if arm not in place]:
        raise InputError(f"`order` must name every arm, got a row of {unknown[0]!r}: add it or drop its rows")
    return np.array([place[arm] for arm in arms], dtype=np.intp)


def _signs(values: Floats) -> Floats:
    """For each two of the last axis 1 where the first is larger, −1 where it is smaller, 0 where they are tied."""
    gaps = values[..., :, None] - values[..., None, :]
    return np.where(np.abs(gaps) <= _TIED * np.abs(values).max(), 0.0, np.sign(gaps))


def _score(level_of: Codes, signs: Floats) -> float:
    return float(np.sum(np.sign(level_of[:, None] - level_of[None, :]) * signs)) / 2
