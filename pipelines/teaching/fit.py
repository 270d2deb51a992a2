"""Weights of a judge's signs, its calibration, and how far its probabilities hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from harness.judging.learned.head import Weights

if TYPE_CHECKING:
    from harness.stats.rows import Floats

STRENGTH = 0.03  # of the pull towards the prior: a fault that was never taught must stay out of the human range
MAX_SLOPE = 4.0  # of a calibration: no few VALIDATION films make marks of 0 and 1
N_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Replies with what they are: a person's, or planted by a family."""

    strengths: Floats  # [n, signs]
    families: NDArray[np.str_]  # [n] of each; empty where a person wrote it
    films: NDArray[np.str_]  # [n]

    @property
    def is_human(self) -> Floats:
        """1 where a person wrote the reply, else 0."""
        return np.where(self.families == "", 1.0, 0.0)

    @property
    def weights(self) -> Floats:
        """Half for people's replies, half for the families, each as much as the others."""
        kinds, kind, counts = np.unique(self.families, return_inverse=True, return_counts=True)
        n_families = max(1, int((kinds != "").sum()))
        share: Floats = (np.where(kinds == "", 1.0, 1 / n_families) / (2 * counts))[kind]
        return share

    def kept(self, keep: NDArray[np.bool_]) -> Marked:
        """Some of the rows."""
        return replace(self, strengths=self.strengths[keep], families=self.families[keep], films=self.films[keep])

    def without(self, family: str) -> Marked:
        """The rows of people and of all other families."""
        return self.kept((self.families != family) | (self.families == ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One point of a reliability curve."""

    predicted: float  # mean probability
    observed: float  # share of people's replies
    n: int


def fit_weights(marked: Marked, prior: Sequence[float]) -> Weights:
    """Logistic regression with weights of at least 0, drawn towards the prior (maximum a posteriori)."""
    centre, human, share = np.array(prior), marked.is_human, marked.weights

    def loss(found: Floats) -> tuple[float, Floats]:
        margin = found[0] + marked.strengths @ found[1:]
        off = found[1:] - centre
        slope = share * (_sigmoid(margin) - human)
        value = float((share * (np.logaddexp(0, margin) - human * margin)).sum() + STRENGTH * off @ off)
        return value, np.concatenate([[slope.sum()], marked.strengths.T @ slope + 2 * STRENGTH * off])

    start = np.concatenate([[0.0], centre])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None)] + [(0, None)] * len(centre)).x
    return Weights(bias=round(float(best[0]), 6), weights=tuple(round(float(w), 6) for w in best[1:]))


def calibrated(weights: Weights, marked: Marked) -> Weights:
    """The same order of marks as probabilities (Platt 1999), which VALIDATION replies decide."""
    logits, human, share = weights.logits(marked.strengths), marked.is_human, marked.weights

    def loss(found: Floats) -> float:
        margin = found[0] + found[1] * logits
        return float((share * (np.logaddexp(0, margin) - human * margin)).sum())

    best = minimize(loss, np.array([0.0, 1.0]), method="L-BFGS-B", bounds=[(None, None), (0.05, MAX_SLOPE)]).x
    return replace(weights, shift=round(float(best[0]), 6), slope=round(float(best[1]), 6))


def reliability(weights: Weights, marked: Marked) -> list[Bin]:
    """How often a reply with a probability is a person's: each film's marks calibrated on the other films."""
    films, probabilities = sorted(set(marked.films)), np.zeros(len(marked.films))
    for film in films:
        own = marked.films == film
        others = marked.kept(~own) if len(films) > 1 else marked
        probabilities[own] = calibrated(weights, others).probability(marked.strengths[own])
    share, human = marked.weights, marked.is_human
    places = (probabilities * N_BINS).astype(int).clip(max=N_BINS - 1)
    bins = []
    for within in (places == place for place in np.unique(places)):
        mass = share[within].sum()
        predicted, observed = ((share * values)[within].sum() / mass for values in (probabilities, human))
        bins.append(Bin(predicted=float(predicted), observed=float(observed), n=int(within.sum())))
    return bins


def _sigmoid(margin: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -margin))
