"""Bootstrap intervals for strengths: whole clusters drawn again, the model fitted to each resample."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from harness.errors import InputError
from harness.stats.bradley_terry import StrengthFit
from harness.stats.davidson import Cells, design_matrix, tabulate
from harness.stats.rows import Floats, check_count, cluster_counts
from harness.stats.votes import Votes
from harness.types import Estimate

STEPS = 12  # of Newton's method from the fit of all votes
SETTLED = 1e-6


def bootstrap_contrast(
    votes: Votes,
    fit: StrengthFit,
    variant: Hashable,
    opponent: Hashable,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1_000,
) -> Estimate:
    """`fit.contrast(variant, opponent)` with the percentile interval of a cluster bootstrap.

    All resamples are fitted at once from the counts per cell. Resamples whose votes are separated have no fit; they are
    left out and counted in the notes. For votes without a length covariate (with one, every vote is its own cell and
    the sandwich is the method of choice). `votes` must be those that `fit` was made from.
    """
    check_count("n_resamples", n_resamples, minimum=100)
    base = fit.contrast(variant, opponent).estimate
    if base.se is None:
        raise InputError("`votes` must have at least 2 clusters to draw from, got 1: report the estimate as it is")
    if votes.length_difference is not None:
        raise InputError("`votes` must carry no length covariate here, got one: use the interval of `fit.contrast`")
    cells = tabulate(votes, with_position=fit.position is not None)
    drawn = _refitted(votes, cells, fit.parameters, rng, n_resamples)  # [usable, parameters]
    if len(drawn) < n_resamples / 2:
        raise InputError(f"`votes` must determine strengths in most resamples, got {len(drawn)} of {n_resamples}")
    values = drawn[:, fit.variants.index(variant)] - drawn[:, fit.variants.index(opponent)]
    low, high = np.quantile(values, [(1 - fit.level) / 2, (1 + fit.level) / 2])
    lost = n_resamples - len(drawn)
    return replace(
        base,
        low=float(low),
        high=float(high),
        se=float(values.std(ddof=1)),
        df=None,
        method=f"log-odds between two variants, cluster bootstrap percentiles, {n_resamples} resamples",
        notes=base.notes + ((f"{lost} resamples without a fit",) if lost else ()),
    )


def _refitted(votes: Votes, cells: Cells, start: Floats, rng: np.random.Generator, n_resamples: int) -> Floats:
    n_cells, groups = len(cells.left), votes.clusters.n_labels
    flat = (votes.clusters.codes * n_cells + cells.cell) * 3 + votes.outcome
    per_cluster = np.bincount(flat, weights=votes.weights, minlength=groups * n_cells * 3).reshape(groups, -1)
    fits = [
        _newton(cells, (counts @ per_cluster).reshape(-1, n_cells, 3), start)
        for counts in cluster_counts(groups, n_resamples=n_resamples, rng=rng)
    ]
    return np.concatenate(fits)


def _newton(cells: Cells, counts: Floats, start: Floats) -> Floats:
    """Fits of many count tables [resamples, cells, 3]; those that do not settle are left out."""
    k, design = cells.n_variants, design_matrix(cells)
    parameters = np.tile(start, (len(counts), 1))
    weight = counts.sum(axis=2)
    change = np.full(len(counts), np.inf)
    for _ in range(STEPS):
        p = _all_probabilities(cells, parameters)
        residual = counts - weight[:, :, None] * p
        gradient = (residual[:, :, 0] - residual[:, :, 1]) @ design
        drift = p[:, :, 0] - p[:, :, 1]
        spread = weight * (p[:, :, 0] + p[:, :, 1] - drift**2)
        information = np.einsum("bc,ci,cj->bij", spread, design, design, optimize=True)
        if cells.has_ties:
            gradient[:, k] += residual[:, :, 2].sum(axis=1)
            cross = (-weight * drift * p[:, :, 2]) @ design
            information[:, k, :] += cross
            information[:, :, k] += cross
            information[:, k, k] += (weight * p[:, :, 2] * (1 - p[:, :, 2])).sum(axis=1)
        information[:, :k, :k] += 1.0
        information += 1e-9 * np.eye(information.shape[1])  # an undetermined resample stays solvable until dropped
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        parameters = parameters + np.clip(step, -3, 3)
        change = np.abs(step).max(axis=1)
    return parameters[change < SETTLED]


def _all_probabilities(cells: Cells, parameters: Floats) -> Floats:
    """[resamples, cells, 3] of left, right, tie."""
    k = cells.n_variants
    shift = parameters[:, k + cells.has_ties :] @ cells.extra.T
    eta = (parameters[:, cells.left] - parameters[:, cells.right] + shift) / 2
    tie = np.broadcast_to(parameters[:, [k]] if cells.has_ties else -np.inf, eta.shape)
    peak = np.maximum(np.abs(eta), tie)
    weights = np.exp(np.stack([eta - peak, -eta - peak, tie - peak], axis=2))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))
