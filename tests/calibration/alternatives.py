"""Other intervals for seeds × films on the scenarios of `crossed_cells`; the page takes its table from here.

    python tests/calibration/alternatives.py

Six contrasts an ablation, each with its own seeds and films. Tried beside the engine: the same without guards,
Kenward–Roger, seed variances pooled as limma does (Smyth 2004), and a pigeonhole bootstrap-t (Owen 2007).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crossed_cells import SHARES, TRUE_MEAN
from families import MAX_ROWS, MIN_ROWS, Floats
from scipy import special

from harness.seeding import stream
from harness.stats.crossed import SKEW_OF_ROWS

RESULTS = Path(__file__).with_name("alternatives.json")
N_ABLATIONS, N_CONTRASTS, N_RESAMPLES = 300, 6, 199  # bootstrap-t on half of the contrasts
COLUMNS = ("coverage, %", "skewed", "half-width in true SE", "power at 3 SE", "power, seed share ≤ 10 %")
UNLIKE = 4.0 ** np.linspace(-1, 1, N_CONTRASTS)  # seed variances of one ablation, where they are not alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """V1, V2 and V12 of many contrasts at once, each seed with the same rows a film."""

    mean: Floats
    rows: Floats
    columns: Floats
    cells: Floats
    columns_df: Floats
    gamma: Floats


def parts_of(sums: Floats, sizes: Floats) -> Parts:
    """From sums [..., seeds, films] and rows a film [..., films]."""
    n_seeds, w = sums.shape[-2], sizes / sizes.sum(axis=-1, keepdims=True)
    of_cells = sums / sizes[..., None, :]
    of_seeds, of_films = np.sum(w[..., None, :] * of_cells, axis=-1), of_cells.mean(axis=-2)
    mean = of_seeds.mean(axis=-1)
    left = of_cells - of_seeds[..., None] - of_films[..., None, :] + mean[..., None, None]
    turned = w * (of_films - mean[..., None])
    c, square = 1 / (1 - w), np.sum(turned**2, axis=-1)
    trace = np.sum(w**2, axis=-1) + np.sum(c * w**2, axis=-1) ** 2 - np.sum(c**2 * w**4, axis=-1)
    return Parts(
        mean=mean,
        rows=of_seeds.var(axis=-1, ddof=1) / n_seeds,
        columns=np.sum(c * turned**2, axis=-1),
        cells=np.sum(w**2 * c * np.sum(left**2, axis=-2), axis=-1) / (n_seeds * (n_seeds - 1)),
        columns_df=1 / trace,
        gamma=np.sum(turned**3, axis=-1) / np.where(square > 0, square, np.inf) ** 1.5,
    )


def components(parts: Parts, rows: Floats, rows_df: Floats, *, guarded: bool) -> Floats:
    """Half-width of the engine, `crossed.spread_of`, with seed variances and their degrees of freedom as given."""
    columns = parts.columns * (1 + parts.gamma**2) ** (2 if guarded else 0)
    total = np.maximum(0, rows - parts.cells) + columns
    shaken = rows**2 / rows_df + columns**2 / parts.columns_df + parts.cells**2 / (rows_df * parts.columns_df)
    df = np.where(rows <= parts.cells, parts.columns_df, np.maximum(total**2 / shaken, rows_df))
    half = np.sqrt(total) * special.stdtrit(df, 0.975)
    widened = 1 + SKEW_OF_ROWS / (rows_df + 1) * (1 - columns / rows)
    alone = np.sqrt(rows) * widened * special.stdtrit(rows_df, 0.975)
    return np.where(guarded & (rows > columns), np.maximum(half, alone), half)


def kenward_roger(sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Mean and half-width of REML on cell means; for balanced cells the adjustment is 0, and df = 2 Φ² / Var(Φ)."""
    y, (s, f) = sums / sizes[..., None, :], sums.shape[-2:]
    of_seeds, of_films, mean = y.mean(axis=-1), y.mean(axis=-2), y.mean(axis=(-2, -1))
    seeds, films = f * s * of_seeds.var(axis=-1), f * s * of_films.var(axis=-1)
    cells = f * s * y.var(axis=(-2, -1)) - seeds - films
    a, b, e = seeds / (s - 1), films / (f - 1), cells / ((s - 1) * (f - 1))
    no_seeds, no_films = a < e, b < e  # at the bound a component is pooled with the cells
    pooled = cells + no_seeds * seeds + no_films * films
    e = pooled / ((s - 1) * (f - 1) + no_seeds * (s - 1) + no_films * (f - 1))
    a, b = np.where(no_seeds, e, a), np.where(no_films, e, b)
    df = (a + b - e) ** 2 / (a**2 / (s - 1) + b**2 / (f - 1) + e**2 / ((s - 1) * (f - 1)))
    return mean, np.sqrt((a + b - e) / (s * f)) * special.stdtrit(df, 0.975)


def moderated(variances: Floats, df: int) -> tuple[Floats, Floats]:
    """limma's `squeezeVar` along the last axis: posterior variances and degrees of freedom."""
    logs = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    excess = logs.var(axis=-1, ddof=1) - special.polygamma(1, df / 2)
    prior = 2 * trigamma_inverse(np.maximum(excess, 1e-8))
    centre = np.exp(logs.mean(axis=-1) + special.digamma(prior / 2) - np.log(prior / 2))
    centre = np.where(excess > 0, centre, variances.mean(axis=-1))[..., None]
    prior = np.where(excess > 0, prior, 1e8)[..., None]
    posterior = (prior * centre + df * variances) / (prior + df)
    return posterior, np.broadcast_to(np.minimum(prior + df, df * variances.shape[-1]), posterior.shape)


def trigamma_inverse(values: Floats) -> Floats:
    """Newton's method on 1 / trigamma, which is nearly straight (Smyth 2004, appendix)."""
    found = 0.5 + 1 / values
    for _ in range(12):
        at = special.polygamma(1, found)
        found = found + at * (1 - at / values) / special.polygamma(2, found)
    return found


def bootstrap_t(sums: Floats, sizes: Floats, rng: np.random.Generator) -> Floats:
    """Half-width from seeds and films drawn anew, each by itself; symmetric, studentised by the parts."""
    halves = []
    for one, size in zip(sums, sizes, strict=True):
        rows = rng.integers(one.shape[0], size=(N_RESAMPLES, one.shape[0], 1))
        columns = rng.integers(one.shape[1], size=(N_RESAMPLES, one.shape[1]))
        drawn, given = parts_of(one[rows, columns[:, None, :]], size[columns]), parts_of(one, size)
        t = np.abs(drawn.mean - given.mean) / np.sqrt(np.maximum(0, drawn.rows - drawn.cells) + drawn.columns)
        se = np.sqrt(np.maximum(0, given.rows - given.cells) + given.columns)
        halves.append(np.sort(t)[int(0.95 * (N_RESAMPLES + 1)) - 1] * se)
    return np.array(halves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Cells of many ablations."""

    sums: Floats  # [ablations, contrasts, seeds, films]
    sizes: Floats  # [ablations, contrasts, films]
    unit: Floats  # standard error of the mean [ablations, contrasts]


def draw(family: str, n_seeds: int, n_films: int, share: float, rng: np.random.Generator, *, factor: Floats) -> Draws:
    """As `crossed_cells` draws them; seed variances times `factor` [contrasts]."""
    shape = N_ABLATIONS, N_CONTRASTS, n_seeds, n_films
    sizes = rng.integers(MIN_ROWS, MAX_ROWS + 1, size=(*shape[:2], n_films)).astype(np.float64)
    w = sizes / sizes.sum(axis=-1, keepdims=True)
    films, cells = 0.5 + 0.5 / sizes, (0.05 + 1 / sizes)[..., None, :]
    rest = np.sum(w**2 * films, axis=-1) + np.sum(w**2 * cells[..., 0, :], axis=-1) / n_seeds
    seeds = factor * share / (1 - share) * rest * n_seeds
    chance = (lambda size: rng.exponential(size=size) - 1) if family == "skewed" else rng.standard_normal
    means = np.sqrt(seeds)[..., None, None] * chance((*shape[:3], 1)) + np.sqrt(films)[..., None, :] * chance(
        (*shape[:2], 1, n_films)
    )
    if family == "ordinal":
        means = means + np.sqrt(0.05) * chance(shape)
        counts = np.broadcast_to(sizes[..., None, :], shape).astype(int).ravel()
        marks = np.rint(np.repeat(means.ravel(), counts) + rng.standard_normal(counts.sum()))
        sums = np.add.reduceat(marks, np.cumsum(counts) - counts).reshape(shape)
    else:
        sums = sizes[..., None, :] * (means + np.sqrt(cells) * chance(shape))
    return Draws(sums=sums, sizes=sizes, unit=np.sqrt(rest + seeds / n_seeds))


def scored(mean: Floats, half: Floats, unit: Floats) -> list[float]:
    """Coverage, half-width in true standard errors, power at three of them."""
    power = np.mean(mean + TRUE_MEAN * unit > half)
    return [float(np.mean(np.abs(mean) <= half)), float(np.median(half / unit)), float(power)]


def scenario(family: str, n_seeds: int, n_films: int, share: float, rng: np.random.Generator) -> dict[str, list[float]]:
    """Every method on one scenario."""
    found, df = {}, np.array(n_seeds - 1.0)
    drawn = draw(family, n_seeds, n_films, share, rng, factor=np.ones(N_CONTRASTS))
    parts = parts_of(drawn.sums, drawn.sizes)
    for name, guarded in (("ours", True), ("REML + Satterthwaite", False)):
        found[name] = scored(parts.mean, components(parts, parts.rows, df, guarded=guarded), drawn.unit)
    found["Kenward–Roger"] = scored(*kenward_roger(drawn.sums, drawn.sizes), drawn.unit)
    pooled = components(parts, *moderated(parts.rows, n_seeds - 1), guarded=True)
    found["moderated, seeds alike"] = scored(parts.mean, pooled, drawn.unit)
    some = slice(0, N_CONTRASTS // 2)
    sums, sizes = (x[:, some].reshape(-1, *x.shape[2:]) for x in (drawn.sums, drawn.sizes))
    found["bootstrap-t"] = scored(
        parts.mean[:, some].ravel(), bootstrap_t(sums, sizes, rng), drawn.unit[:, some].ravel()
    )
    drawn = draw(family, n_seeds, n_films, share, rng, factor=UNLIKE)
    parts = parts_of(drawn.sums, drawn.sizes)
    pooled = components(parts, *moderated(parts.rows, n_seeds - 1), guarded=True)
    found["moderated, the arm that scatters most"] = scored(parts.mean[:, -1], pooled[:, -1], drawn.unit[:, -1])
    return found


def table() -> list[str]:
    """Lines of the page: over films and shares, by number of seeds."""
    results = json.loads(RESULTS.read_text())
    lines = [f"| method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for n_seeds in (3, 5, 10):
        of = {tuple(key.split()): found for key, found in results.items() if key.split()[1] == str(n_seeds)}
        for method in next(iter(of.values())):
            plain = np.array([found[method] for key, found in of.items() if key[0] != "skewed"])
            skewed = np.array([found[method] for key, found in of.items() if key[0] == "skewed"])[:, 0]
            few = np.array([found[method] for key, found in of.items() if key[0] != "skewed" and float(key[3]) <= 0.1])
            covered = [
                " / ".join(f"{100 * f(x):.1f}" for f in (np.min, np.median, np.max)) for x in (plain[:, 0], skewed)
            ]
            width, power = np.median(plain[:, 1]), (np.mean(x[:, 2]) for x in (plain, few))
            lines.append(f"| {n_seeds} seeds, {method} | {' | '.join(covered)} | {width:.2f} | "
                         + " | ".join(f"{x:.2f}" for x in power) + " |")  # fmt: skip
    return lines


def main() -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for family in ("normal", "ordinal", "skewed"):
        for n_seeds in (3, 5, 10):
            for n_films in (10, 20, 40):
                for share in SHARES:
                    key = f"{family} {n_seeds} {n_films} {share:g}"
                    if key not in results:
                        results[key] = scenario(family, n_seeds, n_films, share, stream(20261, key))
                        RESULTS.write_text(json.dumps(results))
                        print(key, results[key], flush=True)


if __name__ == "__main__":
    main()
