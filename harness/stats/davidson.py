"""Davidson's likelihood of pairwise votes: the model under `bradley_terry`, which explains it.

Votes with the same sides and covariates are counted together, so that a million votes among twelve variants cost as
much as a few hundred cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.stats.rows import Codes, Floats
from harness.stats.votes import TIE, Votes

MAX_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Votes with the same sides and covariates, counted together."""

    left: Codes  # [cells]
    right: Codes
    extra: Floats  # [cells, covariates] position and length
    counts: Floats  # [cells, 3] votes for left, right, tie
    cell: Codes  # [votes] the cell of each vote
    n_variants: int
    has_ties: bool
    names: tuple[str, ...]  # of the covariates

    @property
    def n_parameters(self) -> int:
        """Strengths, tie, covariates."""
        return self.n_variants + self.has_ties + len(self.names)


def tabulate(votes: Votes, *, with_position: bool) -> Cells:
    """Count the votes by sides and covariates; without a length covariate this needs no sorting."""
    size = len(votes.variants)
    pair = votes.left * size + votes.right
    if votes.length_difference is None:
        seen = np.flatnonzero(np.bincount(pair, minlength=size * size))
        position_of = np.zeros(size * size, dtype=np.intp)
        position_of[seen] = np.arange(len(seen))
        cell, rows = position_of[pair], None
    else:
        _, rows, cell = np.unique(
            np.column_stack([pair, votes.length_difference]), axis=0, return_index=True, return_inverse=True
        )
        seen, cell = pair[rows], cell.reshape(-1).astype(np.intp)
    n_cells = len(seen)
    counts = np.bincount(cell * 3 + votes.outcome, minlength=3 * n_cells)
    extra = [np.ones(n_cells)] if with_position else []
    if rows is not None and votes.length_difference is not None:
        extra.append(votes.length_difference[rows])
    names = (("position",) if with_position else ()) + (("length",) if rows is not None else ())
    return Cells(
        left=seen // size,
        right=seen % size,
        extra=np.column_stack(extra) if extra else np.zeros((n_cells, 0)),
        counts=counts.reshape(n_cells, 3).astype(np.float64),
        cell=cell,
        n_variants=size,
        has_ties=bool((votes.outcome == TIE).any()),
        names=names,
    )


def outcome_probabilities(cells: Cells, parameters: Floats) -> Floats:
    """[cells, 3] of left, right, tie."""
    k = cells.n_variants
    eta = (parameters[cells.left] - parameters[cells.right] + cells.extra @ parameters[k + cells.has_ties :]) / 2
    tie = np.full(len(eta), parameters[k] if cells.has_ties else -np.inf)
    return np.asarray(special.softmax(np.column_stack([eta, -eta, tie]), axis=1), dtype=np.float64)


def design_matrix(cells: Cells) -> Floats:
    """[cells, parameters] derivative of η; the tie's column is 0."""
    design = np.zeros((len(cells.left), cells.n_parameters))
    rows = np.arange(len(cells.left))
    design[rows, cells.left] = 0.5
    design[rows, cells.right] = -0.5
    design[:, cells.n_variants + cells.has_ties :] = cells.extra / 2
    return design


def information_matrix(cells: Cells, p: Floats, design: Floats) -> Floats:
    """Observed (and expected) information; adding 1 over the strengths fixes their mean without touching the fit."""
    weight = cells.counts.sum(axis=1)
    drift = p[:, 0] - p[:, 1]
    information: Floats = (design * (weight * (p[:, 0] + p[:, 1] - drift**2))[:, None]).T @ design
    k = cells.n_variants
    if cells.has_ties:
        cross = design.T @ (-weight * drift * p[:, 2])
        information[k] += cross
        information[:, k] += cross
        information[k, k] += float(np.sum(weight * p[:, 2] * (1 - p[:, 2])))
    information[:k, :k] += float(np.trace(information[:k, :k])) / k**2
    return information


def maximise(cells: Cells) -> Floats | None:
    """Newton's method from equal strengths, halving steps that lower the likelihood.

    None where it does not settle: with separated votes the maximum lies at infinity.
    """
    parameters = np.zeros(cells.n_parameters)
    design = design_matrix(cells)
    likelihood = -np.inf
    for _ in range(MAX_STEPS):
        p = outcome_probabilities(cells, parameters)
        residual = cells.counts - cells.counts.sum(axis=1, keepdims=True) * p
        gradient = design.T @ (residual[:, 0] - residual[:, 1])
        if cells.has_ties:
            gradient[cells.n_variants] += residual[:, 2].sum()
        try:
            step = np.linalg.solve(information_matrix(cells, p, design), gradient)
        except np.linalg.LinAlgError:
            return None
        for _ in range(30):
            proposed = parameters + step
            value = _log_likelihood(cells, proposed)
            if value >= likelihood - 1e-9 * abs(value):
                break
            step = step / 2
        parameters, likelihood = proposed, value
        if np.abs(step).max() < 1e-10:
            return parameters
    return None


def _log_likelihood(cells: Cells, parameters: Floats) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(cells.counts > 0, cells.counts * np.log(outcome_probabilities(cells, parameters)), 0.0)
    return float(terms.sum())
