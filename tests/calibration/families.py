"""Data with a known truth: clustered rows of several shapes, votes with raters, prompt means.

Rows share a film's effect through a Gaussian copula: z = √ICC · film + √(1 − ICC) · own noise is standard normal, and
each family is a function of z. ICC is therefore that of the latent scale, and every family's true mean is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
MARK_SHARES = np.array([0.10, 0.20, 0.30, 0.25, 0.15])  # of marks 1 … 5
MARK_CUTS = special.ndtri(np.cumsum(MARK_SHARES)[:-1])
MIN_ROWS, MAX_ROWS = 5, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A shape of scores with its true mean."""

    name: str
    of_normal: Callable[[Floats], Floats]
    mean: float


FAMILIES = {
    family.name: family
    for family in (
        Family(name="normal", of_normal=lambda z: z, mean=0.0),
        Family(
            name="ordinal 1–5",
            of_normal=lambda z: (1 + np.searchsorted(MARK_CUTS, z)).astype(np.float64),
            mean=float(MARK_SHARES @ np.arange(1, 6)),
        ),
        Family(name="exponential", of_normal=lambda z: -special.log_ndtr(-z), mean=1.0),
        Family(name="lognormal", of_normal=np.exp, mean=float(np.exp(0.5))),
        Family(name="5 % rate", of_normal=lambda z: (z > special.ndtri(0.95)).astype(np.float64), mean=0.05),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Films and rows of one simulated experiment."""

    codes: NDArray[np.intp]  # [rows] film of each row
    n_films: int


def layout(n_films: int, rng: np.random.Generator) -> Layout:
    """Films of 5 to 50 rows."""
    sizes = rng.integers(MIN_ROWS, MAX_ROWS + 1, size=n_films)
    return Layout(codes=np.repeat(np.arange(n_films), sizes), n_films=n_films)


def latent(films: Layout, icc: float, rng: np.random.Generator) -> Floats:
    """[rows] standard normal, correlated within films."""
    film: Floats = rng.standard_normal(films.n_films)[films.codes]
    return math.sqrt(icc) * film + math.sqrt(1 - icc) * rng.standard_normal(len(films.codes))


def paired(films: Layout, icc: float, rng: np.random.Generator, *, alike: float = 0.5) -> tuple[Floats, Floats]:
    """Two latent arms on the same prompts, correlated by `alike` at film and at row level."""
    common, first, second = (latent(films, icc, rng) for _ in range(3))
    share, own = np.sqrt(alike), np.sqrt(1 - alike)
    return share * common + own * first, share * common + own * second


def votes(
    n_raters: int, n_prompts: int, rng: np.random.Generator, *, rater_sd: float = 0.5, prompt_sd: float = 0.7
) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
    """Every rater on every prompt, even odds on average: won [votes], rater and prompt of each vote."""
    raters, prompts = np.repeat(np.arange(n_raters), n_prompts), np.tile(np.arange(n_prompts), n_raters)
    taste = rater_sd * rng.standard_normal(n_raters)[raters] + prompt_sd * rng.standard_normal(n_prompts)[prompts]
    return rng.standard_normal(len(raters)) < taste, raters, prompts


def davidson_votes(
    n: int, n_films: int, rng: np.random.Generator, *, difference: float, log_tie: float = 0.0, film_sd: float = 0.0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Outcome (0 first wins, 1 second wins, 2 tie) and film of each vote under Davidson's model."""
    films = rng.integers(n_films, size=n)
    eta = (difference + film_sd * rng.standard_normal(n_films)[films]) / 2
    weights = np.column_stack([np.exp(eta), np.exp(-eta), np.full(n, np.exp(log_tie))])
    edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    return (rng.random(n)[:, None] > edges).sum(axis=1), films
