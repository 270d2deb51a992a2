"""Every simulated cell: what is drawn, which methods look at it, how often each is right.

A cell returns counts per method; `run.py` turns them into the page. Each method sees the same draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from cell import Cell, Draw, covers
from certain import sure
from crossed_cells import crossed_cells
from families import FAMILIES, Floats, davidson_votes, latent, layout, paired, votes
from rate_cells import rate_cells
from scipy import special

from harness import stats
from harness.stats.paired import contrast_of_differences

FILMS = (8, 20, 60)
ICCS = (0.0, 0.1, 0.3)
RESAMPLES = 1_000  # of each bootstrap; 10,000 in real use, which moves coverage by less than the draws can tell
Z = 1.959963984540054


def all_cells() -> Iterator[Cell]:
    """In the order of the page."""
    yield from mean_cells()
    yield from contrast_cells()
    yield from rate_cells()
    yield from crossed_cells()
    yield from vote_cells()
    yield from sequence_cells()
    yield from other_cells()


def mean_cells() -> Iterator[Cell]:
    for name in ("normal", "ordinal 1–5", "exponential", "lognormal"):
        for n_films in FILMS:
            for icc in ICCS:
                target = {"lognormal": None, "exponential": 0.91}.get(name, 0.91 if n_films == 8 else 0.93)
                high = 0.97 if name in ("normal", "ordinal 1–5") else None
                yield Cell(
                    table="means",
                    name=f"{name}, {n_films} films, ICC {icc:g}",
                    draw=_mean(name, n_films, icc),
                    target_low=target,
                    target_high=high,
                )


def _mean(name: str, n_films: int, icc: float) -> Draw:
    family = FAMILIES[name]

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        films = layout(n_films, rng)
        values = family.of_normal(latent(films, icc, rng))
        boot = stats.mean_estimate(values, clusters=films.codes, rng=rng, n_resamples=RESAMPLES)
        hits["bootstrap-t"] += covers(boot, family.mean)
        cr2 = contrast_of_differences(values, clusters=films.codes).estimate
        hits["CR2-t"] += covers(cr2, family.mean)
        hits["rows independent"] += _z_covers(values, family.mean)

    return draw


def contrast_cells() -> Iterator[Cell]:
    for name in ("normal", "ordinal 1–5", "exponential", "lognormal"):
        for n_films in FILMS:
            for icc in ICCS:
                yield Cell(
                    table="contrasts",
                    name=f"{name}, {n_films} films, ICC {icc:g}",
                    draw=_contrast(name, n_films, icc),
                    target_low=None if name == "lognormal" else 0.91 if n_films == 8 else 0.93,
                    target_high=None if name == "lognormal" else 0.97,
                    why=(
                        "with heavy-tailed differences in 8 films one film decides both the mean and its error, and t "
                        "intervals become too wide rather than too narrow"
                        if n_films == 8
                        else ""
                    ),
                )
    for n_films in FILMS:
        for skewed in (False, True):
            yield Cell(
                table="type I error of tests",
                name=("mean-zero skew (stress)" if skewed else "labels swapped") + f", {n_films} films, ICC 0.3",
                draw=_tests(n_films, skewed=skewed),
                counts="rejected",
                target_high=None if skewed else 0.06,
            )


def _contrast(name: str, n_films: int, icc: float) -> Draw:
    family = FAMILIES[name]

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        films = layout(n_films, rng)
        a, b = (family.of_normal(z) for z in paired(films, icc, rng))
        hits["CR2-t"] += covers(stats.paired_contrast(a, b, clusters=films.codes).estimate, 0.0)
        hits["rows independent"] += _z_covers(a - b, 0.0)
        unpaired = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        hits["unpaired z"] += abs(a.mean() - b.mean()) <= Z * unpaired

    return draw


def _tests(n_films: int, *, skewed: bool) -> Draw:
    """Differences of equal arms (their labels may be swapped), or skewed differences whose mean is 0."""
    family = FAMILIES["exponential"]

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        films = layout(n_films, rng)
        if skewed:
            a, b = family.of_normal(latent(films, 0.3, rng)), np.ones(len(films.codes))
        else:
            a, b = (family.of_normal(z) for z in paired(films, 0.3, rng))
        flip = stats.sign_flip(a, b, clusters=films.codes, rng=rng, n_flips=999)
        hits["sign-flip"] += sure(flip.p_value) <= 0.05
        hits["CR2-t"] += sure(stats.paired_contrast(a, b, clusters=films.codes).p_value) < 0.05
        hits["rows independent"] += not _z_covers(a - b, 0.0)

    return draw


def vote_cells() -> Iterator[Cell]:
    for n_raters, n_prompts in ((3, 40), (12, 40), (30, 60)):
        yield Cell(
            table="win rates",
            name=f"{n_raters} raters × {n_prompts} prompts",
            draw=_win_rate(n_raters, n_prompts),
            target_low=0.93,
            target_high=0.975,
        )
    for n_films, film_sd in ((20, 0.0), (20, 1.0), (60, 1.0)):
        yield Cell(
            table="strengths",
            name=f"600 votes, {n_films} films" + (", films differ" if film_sd else ""),
            draw=_strength(n_films, film_sd),
            target_low=0.93,
        )


def _win_rate(n_raters: int, n_prompts: int) -> Draw:
    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        won, raters, prompts = votes(n_raters, n_prompts, rng)
        sides = (["a"] * len(won), ["b"] * len(won), np.where(won, "left", "right"))
        found = stats.win_rate(stats.read_votes(*sides, clusters=prompts, raters=raters), "a", "b")
        assert found.people is not None
        hits["raters like these"] += covers(found.people, 0.5)
        hits["these raters, taken for all"] += covers(found.decisive, 0.5)
        hits["votes independent"] += covers(found.naive, 0.5)

    return draw


def _strength(n_films: int, film_sd: float) -> Draw:
    truth = _marginal_difference(0.6, film_sd)

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        names = np.array(["left", "right", "tie"])
        outcome, films = davidson_votes(600, n_films, rng, difference=0.6, film_sd=film_sd)
        read = stats.read_votes(["a"] * 600, ["b"] * 600, names[outcome], clusters=films)
        fit = stats.fit_strengths(read, with_position=False)
        assert isinstance(fit, stats.StrengthFit)
        hits["Davidson by film"] += covers(fit.contrast("a", "b").estimate, truth)
        wins, losses, ties = np.bincount(outcome, minlength=3)
        hits["votes independent"] += abs(math.log(wins / losses) - truth) <= Z * math.sqrt(1 / wins + 1 / losses)
        half_w, half_l = wins + ties / 2, losses + ties / 2
        hits["ties as half points"] += abs(math.log(half_w / half_l) - truth) <= Z * math.sqrt(1 / half_w + 1 / half_l)

    return draw


def _marginal_difference(difference: float, film_sd: float) -> float:
    """Log odds of a win over a loss when the films' own differences are averaged out (Gauss–Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    eta = (difference + film_sd * nodes) / 2
    total = np.exp(eta) + np.exp(-eta) + 1
    return float(math.log(weights @ (np.exp(eta) / total)) - math.log(weights @ (np.exp(-eta) / total)))


def sequence_cells() -> Iterator[Cell]:
    yield Cell(
        table="peeking",
        name="prompt means of 3 raters, a look after each of 200 prompts",
        draw=_peeking(n_prompts=200, n_raters=3),
        counts="rejected",
        target_high=0.05,
    )


def _peeking(*, n_prompts: int, n_raters: int) -> Draw:
    """The panel's prompt means are even on average; raters agree on a prompt more than chance."""

    def draw(hits: Counter[str], rng: np.random.Generator) -> None:
        shares = rng.beta(1, 1, size=n_prompts)
        wins = rng.binomial(n_raters, shares)
        race = stats.BettingSequence()
        hits["betting on prompt means"] += any(race.update(w / n_raters).p_value <= 0.05 for w in wins)
        total, n = np.cumsum(wins), n_raters * np.arange(1, n_prompts + 1)
        z = np.abs(total - n / 2) / np.sqrt(n / 4)
        hits["z on votes at every look"] += bool((z[9:] > Z).any())
        log_e = special.betaln(total + 1, n - total + 1) + n * math.log(2)
        hits["beta-binomial on repeated votes"] += bool((log_e >= math.log(20)).any())

    return draw


def other_cells() -> Iterator[Cell]:
    for name, draw, low in (
        ("AUC 0.76, 20 films, ICC 0.25", _auc, 0.93),
        ("Spearman 0.58, 20 films of 3", _spearman, 0.93),
        ("lower decile, 30 films of 10, ICC 0.2", _decile, 0.93),
        ("Cohen's kappa 0.49, 25 films of 4", _kappa, 0.93),
        ("PPI++ mean, 60 films, 15 % marked, biased judge", _powered, 0.93),
    ):
        yield Cell(table="other intervals", name=name, draw=draw, target_low=low)
    yield Cell(
        table="tail asymmetry",
        name="pure latent shift of 0.5, 60 films of 30",
        draw=_asymmetry,
        counts="rejected",
        target_high=0.06,
    )


def _auc(hits: Counter[str], rng: np.random.Generator) -> None:
    films, truth = np.repeat(np.arange(20), 5), float(special.ndtr(1 / math.sqrt(2)))
    film = 0.5 * rng.standard_normal((2, 20))
    high = 1 + film[0][films] + math.sqrt(0.75) * rng.standard_normal(100)
    low = film[1][films] + math.sqrt(0.75) * rng.standard_normal(100)
    ours = stats.roc_auc(high, low, positive_clusters=films, negative_clusters=films)
    hits["ours"] += covers(ours, truth)
    rows = range(100)
    alone = stats.roc_auc(high, low, positive_clusters=rows, negative_clusters=[f"n{i}" for i in rows])
    hits["rows independent"] += covers(alone, truth)


def _spearman(hits: Counter[str], rng: np.random.Generator) -> None:
    films, truth = np.repeat(np.arange(20), 3), 6 / math.pi * math.asin(0.3)
    common = rng.standard_normal(20)[films]
    x = math.sqrt(0.3) * common + math.sqrt(0.7) * rng.standard_normal(60)
    y = 0.6 * x + 0.8 * (math.sqrt(0.3) * rng.standard_normal(20)[films] + math.sqrt(0.7) * rng.standard_normal(60))
    ours = stats.spearman(x, y, clusters=films, rng=rng, n_resamples=400)
    hits["ours"] += covers(ours, truth)
    half = Z / math.sqrt(57)
    centre = math.atanh(ours.value)
    hits["rows independent"] += math.tanh(centre - half) <= truth <= math.tanh(centre + half)


def _decile(hits: Counter[str], rng: np.random.Generator) -> None:
    films, truth = np.repeat(np.arange(30), 10), float(special.ndtri(0.1))
    values = math.sqrt(0.2) * rng.standard_normal(30)[films] + math.sqrt(0.8) * rng.standard_normal(300)
    hits["ours"] += covers(stats.quantile_estimate(values, 0.1, clusters=films), truth)
    hits["rows independent"] += covers(stats.quantile_estimate(values, 0.1, clusters=np.arange(300)), truth)


def _kappa(hits: Counter[str], rng: np.random.Generator) -> None:
    films = np.arange(100) // 4
    truth = rng.integers(2, size=100)
    raters = np.where(rng.random((2, 100)) < 0.15, 1 - truth, truth)
    ours = stats.cohens_kappa(raters[0], raters[1], clusters=films, rng=rng, n_resamples=400)
    hits["ours"] += covers(ours, 0.49)


def _powered(hits: Counter[str], rng: np.random.Generator) -> None:
    films = np.arange(600) // 10
    truth = 3 + 0.4 * rng.standard_normal(60)[films] + rng.standard_normal(600)
    judge = truth + 0.5 + 0.4 * rng.standard_normal(600)
    human = np.where(rng.random(600) < 0.15, truth, np.nan)
    result = stats.powered_mean(judge, human, probabilities=0.15, clusters=films)
    hits["ours"] += covers(result.test.estimate, 3.0)
    hits["judge at its word"] += covers(result.judge_only, 3.0)


def _asymmetry(hits: Counter[str], rng: np.random.Generator) -> None:
    """Logistic marks with a common shift: no asymmetry is there, though the raw changes differ."""
    cuts = np.array([-1.2, -0.3, 1.6, 2.6])
    films = np.repeat(np.arange(60), 30)
    a, b = (1.0 + np.searchsorted(cuts, rng.logistic(size=1800) + shift) for shift in (0.5, 0.0))
    result = stats.tail_asymmetry(a, b, clusters=films)
    hits["log-odds by film"] += sure(result.test.p_value) < 0.05
    change = -((a <= 2).astype(float) - (b <= 2)) - ((a >= 4).astype(float) - (b >= 4))
    hits["raw changes compared"] += sure(contrast_of_differences(change, clusters=films).p_value) < 0.05


def _z_covers(values: Floats, truth: float) -> bool:
    return bool(abs(values.mean() - truth) <= Z * values.std(ddof=1) / math.sqrt(len(values)))
