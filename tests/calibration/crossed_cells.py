"""Seeds × films and raters × prompts: coverage and power of crossed means, from no seed variance to little else.

Effects are drawn so that the mean has standard error 1, of whose square `share` comes from seeds (raters); coverage is
at a true mean of 0, power at 3. Half of what films add is of films, half of their prompts; skewed effects are
exponential; ordinal ones are differences of rounded scores, whose mean is 0 by symmetry.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from cell import Cell, Draw
from families import MAX_ROWS, MIN_ROWS, Floats

from harness.stats.crossed import parts_of_cells, spread_of
from harness.stats.intervals import t_quantile
from harness.stats.paired import cr2_variance
from harness.stats.rows import ClusterSums

SHARES = (0.0, 0.1, 0.5, 0.8, 0.97)
TRUE_MEAN = 3.0  # standard errors, for power


def crossed_cells() -> Iterator[Cell]:
    for family in ("normal", "ordinal", "skewed"):
        for n_seeds in (3, 5, 10):
            for n_films in (10, 20, 40):
                for share in SHARES:
                    yield _cell("seeds × films", family, n_seeds, n_films, share)
    for family in ("normal", "ordinal"):
        for n_raters, n_prompts, each in ((3, 40, 3), (5, 40, 5), (10, 40, 10), (10, 60, 3)):
            for share in SHARES:
                yield _cell("raters × prompts", family, n_raters, n_prompts, share, each=each)


def _cell(table: str, family: str, n_rows: int, n_columns: int, share: float, *, each: int | None = None) -> Cell:
    names = table.split(" × ")
    gaps = f", {each} a prompt" if each is not None and each < n_rows else ""
    return Cell(
        table=table,
        name=f"{family}, {n_rows} {names[0]} × {n_columns} {names[1]}{gaps}, share {share:.0%}",
        draw=_crossed(family, n_rows, n_columns, share, each=each),
        target_low=0.90 if family == "skewed" else 0.93,
        target_high=0.975,
    )


def _crossed(family: str, n_rows: int, n_columns: int, share: float, *, each: int | None) -> Draw:
    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        counts = _counts(n_rows, n_columns, each, rng)
        sums, unit = _sums(counts, family, share, rng)
        n, mean = int(counts.sum()), float(sums.sum() / counts.sum())
        residuals = sums - mean * counts
        spread = spread_of(parts_of_cells(residuals, counts, n=n), level=0.95)
        for name, half in (
            ("components", t_quantile(0.975, spread.df) * spread.se),
            ("larger one-way", _larger_one_way(residuals, n)),
            ("by film only", _by_column(residuals, counts)),
        ):
            hits[name] += abs(mean) <= half
            if name != "by film only":
                hits[f"power of {name}"] += mean + TRUE_MEAN * unit > half

    return draw


def _counts(n_rows: int, n_columns: int, each: int | None, rng: np.random.Generator) -> Floats:
    """Rows of each cell: films of 5 to 50, the same for every seed; or one mark of each rater asked for a prompt."""
    if each is None:
        return np.tile(rng.integers(MIN_ROWS, MAX_ROWS + 1, size=n_columns).astype(np.float64), (n_rows, 1))
    order = rng.permuted(np.tile(np.arange(n_rows)[:, None], n_columns), axis=0)
    return (order < each).astype(np.float64)


def _sums(counts: Floats, family: str, share: float, rng: np.random.Generator) -> tuple[Floats, float]:
    """Sums [rows, columns] of rows around mean 0, and the standard error of their mean."""
    w = counts / counts.sum()
    by_row, by_column = w.sum(axis=1), w.sum(axis=0)
    size = counts.max(axis=0)
    columns, cells = 0.5 + 0.5 / size, 0.05 + 1 / np.maximum(counts, 1)
    rest = float(by_column**2 @ columns + np.sum(w**2 * cells))
    rows = share / (1 - share) * rest / float(by_row @ by_row)
    unit = math.sqrt(rest / (1 - share))
    draw = rng.standard_normal if family != "skewed" else lambda shape: rng.exponential(size=shape) - 1
    effects = math.sqrt(rows) * draw((len(w), 1)) + np.sqrt(columns) * draw((1, w.shape[1]))
    if family == "ordinal":
        return _ordinal(counts, effects + math.sqrt(0.05) * draw(w.shape), rng), unit
    return counts * (effects + np.sqrt(cells) * draw(w.shape)), unit


def _ordinal(counts: Floats, means: Floats, rng: np.random.Generator) -> Floats:
    """Sums of differences between marks: rounded rows, symmetric around 0."""
    sizes = counts.astype(int).ravel()
    rows = np.rint(np.repeat(means.ravel(), sizes) + rng.standard_normal(sizes.sum()))
    cell = np.repeat(np.arange(counts.size), sizes)
    return np.bincount(cell, weights=rows, minlength=counts.size).reshape(counts.shape).astype(np.float64)


def _larger_one_way(residuals: Floats, n: int) -> float:
    """Inclusion and exclusion (Cameron, Gelbach & Miller 2011), not below either one-way variance; min(levels) − 1."""

    def one_way(sums: Floats) -> float:
        return float(sums @ sums) / n**2 * len(sums) / (len(sums) - 1)

    rows, columns, cells = (one_way(x) for x in (residuals.sum(axis=1), residuals.sum(axis=0), residuals.ravel()))
    return math.sqrt(max(rows + columns - cells, rows, columns)) * t_quantile(0.975, min(residuals.shape) - 1)


def _by_column(residuals: Floats, counts: Floats) -> float:
    spread = cr2_variance(ClusterSums(sums=residuals.sum(axis=0), sizes=counts.sum(axis=0), mean=0.0))
    return spread.se * t_quantile(0.975, spread.df)
