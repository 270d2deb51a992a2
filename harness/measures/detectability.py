"""Can a classifier tell a variant's replies from people's? 0.5 is indistinguishable, 1 always told.

A classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv 1610.06545), as adversarial evaluation of dialogue (Kannan &
Vinyals 2017, arXiv 1701.08198): a linear classifier on encoded replies, fitted on all films but one and read on that
one; the measure is its ROC AUC. The fit is L2 least squares on ±1 (Fisher's direction): leaving a film out, and
swapping labels, are then exact and closed, where logistic regression gives the same AUC (within 0.003 on average,
20 draws of 40 Cornell prompts at each of three AUCs) and must be fitted anew.

The AUC is a mean of rows, a reply's placement among the other kind's (DeLong et al. 1988; by film, Obuchowski 1997), so
that it has an interval and paired contrasts as any mean has. Placements alone vary too little: what one film teaches is
read on all others, and where there is nothing to learn, films k and l enter each other's AUC by one and the same
product, which doubles the variance. So much of it as is chance, 1 / (1 + signal), is put back into the rows; the signal
is how far classifiers fitted on two halves of the films agree. docs/statistics.md says how often that is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.rows import Codes, Floats

MIN_FILMS = 3  # to fit on some and read another
PENALTY = 4.0  # weight of the squared coefficients, on features of about unit length
N_SHUFFLES = 999
N_HALVES = 10  # divisions of the films in two
_AT_ONCE = 4_000_000  # labels of shuffles in memory
_PLAIN_WEIGHT = 0.5  # a plain feature's share beside the encoder's, all of whose dimensions together have length 1
# What can be said of a reply at a glance: less of it, more of it than people's.
PLAIN = (
    ("replies farther from the last turn", "replies nearer to the last turn"),
    ("shorter replies", "longer replies"),
    ("less punctuation", "more punctuation"),
    ("fewer capital letters", "more capital letters"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How well a variant's replies are told from people's."""

    auc: float
    rows: Floats  # [replies] their mean (over prompts, of each prompt's) is the AUC, their spread over films its error
    margins: Floats  # [replies] share of people's replies that are held for a model's sooner; their mean is 1 − AUC
    p_value: float  # share of shuffles, film by film, of whose replies are whose that are told as well
    giveaways: tuple[tuple[str, float], ...]  # in words, with the difference in standard deviations; strongest first


def features(replies: Floats, turns: Floats, texts: Sequence[str]) -> Floats:
    """[n, 2 d + 4]: reply, its product with the last turn (of unit scale), cosine, length, punctuation, capitals."""
    product = replies * turns
    plain = np.array([_plain(text) for text in texts]).reshape(len(texts), 3)
    return np.hstack([replies, product * np.sqrt(replies.shape[1]), product.sum(axis=1, keepdims=True), plain])


def detect(human: Floats, model: Floats, *, owners: Codes, films: Codes, rng: np.random.Generator) -> Detection:
    """Fit on all films but one, read that one, film by film.

    Args:
        human: [prompts, f] features of people's replies, one a prompt.
        model: [replies, f] of the variant's; the replies to one prompt count as one together.
        owners: [replies] the place of each reply's prompt in `human`; every prompt has a reply.
        films: [prompts] film of each prompt, from 0; at least `MIN_FILMS`.
        rng: for the shuffles and halves.
    """
    weights = np.concatenate([np.ones(len(human)), 1 / np.bincount(owners)[owners]])
    is_model = np.arange(len(human) + len(model)) >= len(human)
    x = np.vstack([human, model])
    fit = _Fit(x, weights=weights, films=np.concatenate([films, films[owners]]))
    labels = np.where(is_model, 1.0, -1.0)
    scores = fit.left_out(labels)
    below, above = _placements(scores, is_model, weights)
    auc = float(np.average(below, weights=weights[is_model]))
    chance = _chance(fit, labels, rng)
    n_above = int(np.sum(_shuffled_aucs(fit, labels, rng) >= auc - 1e-12))
    return Detection(
        auc=auc,
        rows=auc + np.sqrt(1 + chance) * (below + above[owners] - 2 * auc),
        margins=1 - below,
        p_value=(1 + n_above) / (N_SHUFFLES + 1),
        giveaways=_giveaways(x, is_model, weights),
    )


def _shuffled_aucs(fit: _Fit, labels: Floats, rng: np.random.Generator) -> Floats:
    """[N_SHUFFLES] AUCs where, film by film, people's replies and the model's may have changed places."""
    films, weights = fit.films, fit.weights
    signs = np.where(rng.random((N_SHUFFLES, int(films.max()) + 1)) < 0.5, -1.0, 1.0)
    aucs: list[float] = []
    for some in np.array_split(signs, -(-signs.shape[0] * len(labels) // _AT_ONCE)):
        swapped = some[:, films] * labels
        for scores, said in zip(fit.left_out(swapped), swapped > 0, strict=True):
            aucs.append(float(np.average(_placements(scores, said, weights)[0], weights=weights[said])))
    return np.array(aucs)


class _Fit:
    """L2 least squares on ±1 labels, for any labels and without any rows, in closed form.

    With Z Zᵀ the smoother, the residuals of rows g of a fit without them are (I − Z_g Z_gᵀ)⁻¹ (y − Z Zᵀ y)_g.
    Rows are people's replies, then the model's; weights [n] of a prompt sum to 1 on either side, films are [n].
    """

    def __init__(self, x: Floats, *, weights: Floats, films: Codes) -> None:
        self._root = np.sqrt(weights)
        self.weights, self.films = weights, films
        left, sizes, _ = np.linalg.svd(_standardised(x, weights) * self._root[:, None], full_matrices=False)
        self._z = left * (sizes / np.sqrt(sizes**2 + PENALTY))  # [n, r]
        self._films = [np.flatnonzero(films == film) for film in range(films.max() + 1)]

    def left_out(self, labels: Floats) -> Floats:
        """[..., n] scores of every row by the fit without its film, for labels [..., n]."""
        said = labels * self._root
        residuals = said - (said @ self._z) @ self._z.T
        scores = np.empty_like(said)
        for rows in self._films:
            scores[..., rows] = said[..., rows] - self._without(rows, residuals[..., rows])
        return scores / self._root

    def fitted(self, labels: Floats, *, without: Codes) -> Floats:
        """[n] scores of every row by the fit without some rows."""
        said = labels * self._root
        residuals: Floats = said - self._z @ (self._z.T @ said)
        lost = self._without(without, residuals[without])
        residuals = np.asarray(residuals + self._z @ (self._z[without].T @ lost), dtype=np.float64)
        residuals[without] = lost
        return np.asarray((said - residuals) / self._root, dtype=np.float64)

    def _without(self, rows: Codes, residuals: Floats) -> Floats:
        """(I − Z_g Z_gᵀ)⁻¹ of residuals [..., g], by whichever of g and r is smaller."""
        z = self._z[rows]
        if len(rows) <= z.shape[1]:
            return np.asarray(np.linalg.solve(np.eye(len(rows)) - z @ z.T, residuals.T).T, dtype=np.float64)
        inner = np.linalg.solve(np.eye(z.shape[1]) - z.T @ z, (residuals @ z).T).T
        return np.asarray(residuals + inner @ z.T, dtype=np.float64)


def _chance(fit: _Fit, labels: Floats, rng: np.random.Generator) -> float:
    """How much of the direction that was learned is chance: 1 where halves of the films agree on nothing, 0 on all."""
    films = fit.films
    agreements = []
    for _ in range(N_HALVES):
        order = rng.permutation(films.max() + 1)
        in_half = np.isin(films, order[: len(order) // 2])
        one, other = (_within(fit.fitted(labels, without=np.flatnonzero(half)), labels) for half in (in_half, ~in_half))
        size = np.sqrt((one @ one) * (other @ other))
        agreements.append(float(one @ other / size) if size > 0 else 0.0)
    agreement = float(np.clip(np.mean(agreements), 0, 1))
    return (1 - agreement) / (1 + agreement)  # half as many films carry half the signal


def _within(scores: Floats, labels: Floats) -> Floats:
    """Scores less the mean of their kind."""
    is_model = labels > 0
    centred: Floats = scores - np.where(is_model, scores[is_model].mean(), scores[~is_model].mean())
    return centred


def _placements(scores: Floats, is_model: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Share of people's replies below each of the model's, and of the model's above each of people's; a tie is half."""
    model, human = scores[is_model], scores[~is_model]
    return _share_below(model, human, weights[~is_model]), 1 - _share_below(human, model, weights[is_model])


def _share_below(values: Floats, others: Floats, weights: Floats) -> Floats:
    order = np.argsort(others, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])])
    sides = [total[np.searchsorted(others[order], values, side)] for side in ("left", "right")]
    share: Floats = (sides[0] + sides[1]) / (2 * total[-1])
    return share


def _plain(text: str) -> tuple[float, float, float]:
    """Log words, marks per character, capitals per letter."""
    letters = sum(c.isalpha() for c in text)
    capitals = sum(c.isupper() for c in text)
    marks = len(re.findall(r"[^\w\s]", text))
    return float(np.log1p(len(text.split()))), marks / max(len(text), 1), capitals / max(letters, 1)


def _standardised(x: Floats, weights: Floats) -> Floats:
    centred = x - np.average(x, axis=0, weights=weights)
    plain = centred[:, -len(PLAIN) :]
    spread = np.sqrt(np.average(plain**2, axis=0, weights=weights))
    plain *= _PLAIN_WEIGHT / np.where(spread > 1e-12, spread, np.inf)
    return centred


def _giveaways(x: Floats, is_model: NDArray[np.bool_], weights: Floats) -> tuple[tuple[str, float], ...]:
    """Differences of the means of plain features, in standard deviations of all replies."""
    plain = _standardised(x, weights)[:, -len(PLAIN) :] / _PLAIN_WEIGHT
    model, human = (np.average(plain[kind], axis=0, weights=weights[kind]) for kind in (is_model, ~is_model))
    sizes = zip(PLAIN, model - human, strict=True)
    found = [(more if size > 0 else less, abs(float(size))) for (less, more), size in sizes]
    return tuple(sorted(found, key=lambda said: -said[1]))
