"""Strengths from pairwise votes: Bradley–Terry with ties (Davidson), position and length, errors by cluster.

With log-strengths θ and log ν = τ (Davidson 1970, doi:10.1080/01621459.1970.10481082):

    P(left) ∝ e^η,  P(right) ∝ e^(−η),  P(tie) ∝ e^τ,   η = (θ_left − θ_right + position + length · Δlength) / 2

which is his π_i : π_j : ν √(π_i π_j). Ties are outcomes of their own, not half points, which pull all strengths towards
each other. Without ties it is Bradley & Terry (1952). A log-linear model, so Newton's method finds the one maximum. The
sandwich variance sums scores within clusters, G / (G − 1), t with G − 1 degrees of freedom; with raters known that is a
claim about these raters, and the influences of their votes, crossed with clusters (`crossed`), give the one about
raters like these. Strengths are differences to the mean of all variants.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from harness.errors import InputError
from harness.stats.crossed import panel_claim, parts_of_cells, spread_of
from harness.stats.intervals import t_interval
from harness.stats.outcomes import ONE_CLUSTER, TestResult, t_test
from harness.stats.rows import Coded, Codes, Floats, check_level
from harness.stats.votes import RIGHT, TIE, Votes
from harness.types import Estimate

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
    """Count the votes by sides and covariates, so that a million votes among twelve variants cost a few hundred cells.

    Without a length covariate this needs no sorting.
    """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CellInfluences:
    """How the votes of each rater in each cluster move the parameters."""

    sums: Floats  # [raters, clusters, parameters]
    counts: Floats  # [raters, clusters] votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What was fitted, and how sure any linear combination of it is."""

    values: Floats  # [variants + tie + position + length]
    covariance: Floats | None  # of `values`; None with one cluster
    influences: CellInfluences | None  # None without two raters and two clusters
    template: Estimate  # level, n, clusters and notes that every combination inherits

    def combined(self, weights: Floats, name: str) -> Estimate:
        """A combination with its interval, about these raters."""
        value, template = float(weights @ self.values), self.template
        method = f"{name}, {template.method}, sandwich by cluster"
        if self.covariance is None:
            return replace(template, value=value, method=method)
        se = math.sqrt(max(0.0, float(weights @ self.covariance @ weights)))
        df = template.n_clusters - 1.0
        ends = t_interval(value, se, df, level=template.level)
        return replace(template, value=value, low=ends.low, high=ends.high, se=se, df=df, method=method)

    def of_people(self, weights: Floats, name: str, cells: CellInfluences) -> Estimate:
        """The same with raters as a sample, crossed with clusters."""
        value, template = float(weights @ self.values), self.template
        parts = parts_of_cells(cells.sums @ weights * template.n, cells.counts, n=template.n)
        spread = spread_of(parts, level=template.level)
        ends = t_interval(value, spread.se, spread.df, level=template.level)
        return replace(
            template,
            value=value,
            low=ends.low,
            high=ends.high,
            se=spread.se,
            df=spread.df,
            method=f"{name}, {template.method}, influences over crossed raters and clusters",
            notes=(f"about raters like these {template.n_crossed}", *template.notes[1:]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthFit:
    """A fitted model of the votes; strengths are log-odds relative to the mean of all variants."""

    variants: tuple[Hashable, ...]
    strengths: tuple[Estimate, ...]  # in the order of `variants`
    people: tuple[Estimate, ...]  # strengths about raters like these; empty without two raters and two clusters
    tie: Estimate | None  # log ν; None without ties
    position: Estimate | None  # log-odds of the left side between equals
    length: Estimate | None  # log-odds per unit of length difference
    parameters: Parameters

    def contrast(self, variant: Hashable, opponent: Hashable) -> TestResult:
        """Log-odds that `variant` beats `opponent` in a decisive vote without side advantage, with its test."""
        weights = np.zeros(len(self.parameters.values))
        for name, sign in ((variant, 1.0), (opponent, -1.0)):
            if name not in self.variants:
                raise InputError(f"`variant` must be one of {list(self.variants)}, got {name!r}: check its name")
            weights[self.variants.index(name)] += sign
        return t_test(self.parameters.combined(weights, "log-odds between two variants"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfitted:
    """Why there are no strengths: what was never compared, or never lost."""

    groups: tuple[tuple[Hashable, ...], ...]  # variants that can be ranked among each other
    reason: str


def fit_strengths(votes: Votes, *, level: float = 0.95, with_position: bool = True) -> StrengthFit | Unfitted:
    """Strengths of all variants with clustered intervals, or the reason why the votes do not determine them.

    Args:
        votes: from `read_votes`; a length covariate is used when the votes carry one, raters when they do.
        with_position: estimate the advantage of the left side.
    """
    check_level(level)
    if isinstance(missing := find_unconnected(votes), Unfitted):
        return missing
    cells = tabulate(votes, with_position=with_position)
    parameters = maximise(cells)
    if parameters is None or _is_flat(cells, parameters):
        return Unfitted(groups=(votes.variants,), reason="the votes are separated: one side or length always wins")
    return _described(votes, cells, parameters, level=level)


def find_unconnected(votes: Votes) -> Unfitted | None:
    """Variants that no chain of comparisons, or no chain of wins and ties in both directions, connects (Ford 1957)."""
    size = len(votes.variants)
    winners = np.where(votes.outcome == RIGHT, votes.right, votes.left)
    losers = np.where(votes.outcome == RIGHT, votes.left, votes.right)
    tied = votes.outcome == TIE
    edges = np.unique(np.concatenate([winners * size + losers, (losers * size + winners)[tied]]))
    graph = coo_array((np.ones(len(edges)), (edges // size, edges % size)), shape=(size, size))
    reasons: dict[Literal["weak", "strong"], str] = {
        "weak": "some variants were never compared, directly or through others",
        "strong": "some variants never lost or tied against the others: their strength has no upper end",
    }
    for kind, reason in reasons.items():
        n_groups, group = connected_components(graph, directed=True, connection=kind)
        if n_groups > 1:
            names = [tuple(votes.variants[i] for i in np.flatnonzero(group == g)) for g in range(n_groups)]
            return Unfitted(groups=tuple(sorted(names, key=lambda one: (-len(one), str(one)))), reason=reason)
    return None


def _scores(votes: Votes, cells: Cells, p: Floats, groups: Coded) -> Floats:
    """[groups, parameters] sums of the votes' scores."""
    k, size, codes = cells.n_variants, groups.n_labels, groups.codes
    sign = np.array([1.0, -1.0, 0.0])[votes.outcome]
    slope = (sign - (p[:, 0] - p[:, 1])[cells.cell]) / 2
    scores = np.zeros((size, cells.n_parameters))
    by_side = [np.bincount(codes * k + side, weights=slope, minlength=size * k) for side in (votes.left, votes.right)]
    scores[:, :k] = (by_side[0] - by_side[1]).reshape(size, k)
    if cells.has_ties:
        scores[:, k] = np.bincount(codes, weights=(votes.outcome == TIE) - p[cells.cell, 2], minlength=size)
    for j in range(len(cells.names)):
        column = slope if cells.names[j] == "position" else slope * cells.extra[cells.cell, j]
        scores[:, k + cells.has_ties + j] = np.bincount(codes, weights=column, minlength=size)
    return scores


def _influences(votes: Votes, cells: Cells, p: Floats, bread: Floats) -> CellInfluences | None:
    raters, clusters = votes.raters, votes.clusters
    if raters is None or min(raters.n_labels, clusters.n_labels) < 2:
        return None
    shape = raters.n_labels, clusters.n_labels
    cell = raters.codes * shape[1] + clusters.codes
    both = Coded(codes=cell, labels=tuple(range(shape[0] * shape[1])))
    return CellInfluences(
        sums=(_scores(votes, cells, p, both) @ bread).reshape(*shape, -1),
        counts=np.bincount(cell, minlength=both.n_labels).astype(np.float64).reshape(shape),
    )


def _is_flat(cells: Cells, parameters: Floats) -> bool:
    """Whether the likelihood has no curvature left in some direction: the search ran off and stopped where it is 0."""
    p = outcome_probabilities(cells, parameters)
    information = information_matrix(cells, p, design_matrix(cells))
    return bool(np.linalg.matrix_rank(information, hermitian=True) < len(information))


def _described(votes: Votes, cells: Cells, values: Floats, *, level: float) -> StrengthFit:
    k, unit = cells.n_variants, np.eye(len(values))
    p = outcome_probabilities(cells, values)
    n_groups = votes.clusters.n_labels
    covariance, influences = None, None
    if n_groups > 1:
        bread = np.asarray(np.linalg.inv(information_matrix(cells, p, design_matrix(cells))), dtype=np.float64)
        scores = _scores(votes, cells, p, votes.clusters)
        covariance = bread @ (scores.T @ scores * n_groups / (n_groups - 1)) @ bread
        influences = _influences(votes, cells, p, bread)
    fit = Parameters(
        values=values,
        covariance=covariance,
        influences=influences,
        template=_template(votes, covariance is not None, level),
    )
    mean = np.where(np.arange(len(values)) < k, 1 / k, 0.0)
    extra = {name: fit.combined(unit[k + cells.has_ties + j], name) for j, name in enumerate(cells.names)}
    return StrengthFit(
        variants=votes.variants,
        strengths=tuple(fit.combined(unit[i] - mean, "strength") for i in range(k)),
        people=()
        if influences is None
        else tuple(fit.of_people(unit[i] - mean, "strength", influences) for i in range(k)),
        tie=fit.combined(unit[k], "log tie parameter") if cells.has_ties else None,
        position=extra.get("position"),
        length=extra.get("length"),
        parameters=fit,
    )


def _template(votes: Votes, has_interval: bool, level: float) -> Estimate:
    bare = Estimate(
        value=0.0,
        low=None,
        high=None,
        level=level,
        n=len(votes),
        n_clusters=votes.clusters.n_labels,
        n_missing=votes.n_missing,
        method="Davidson" if (votes.outcome == TIE).any() else "Bradley–Terry",
        notes=() if has_interval else (ONE_CLUSTER,),
    )
    return bare if votes.raters is None else panel_claim(bare, votes.raters.n_labels)
