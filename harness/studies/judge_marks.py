"""A judge's scores beside people's marks of the same replies: correlation, kappa, stand-in test and bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from harness.errors import InputError
from harness.seeding import stream
from harness.stats import (
    AlternativeAnnotator,
    BlandAltman,
    alternative_annotator,
    bland_altman,
    cohens_kappa,
    kendall_within,
    krippendorff_alpha,
    pearson,
    spearman,
)
from harness.stats.rows import Floats
from harness.studies.corrected import JudgedCriterion
from harness.studies.marks import MarkTable, mark_table
from harness.studies.rating_rows import RatedSlot
from harness.studies.studies import Study
from harness.types import Estimate

T = TypeVar("T")

NOT_A_MARK = "kappa, bias and the alternative-annotator test need scores on the scale that people mark on"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkValidation:
    """A judge on one criterion that people marked."""

    correlation: Estimate | None  # Spearman, judge's score with the panel's mean mark
    linear: Estimate | None  # Pearson
    within: Estimate | None  # Kendall's tau-b within each film or dialogue, mean of them
    among_people: Estimate | None  # Krippendorff's alpha of the raters: what a judge can hope for
    kappa: Estimate | None  # quadratic, rounded score with the panel's rounded mean; of words, with the commonest
    annotators: AlternativeAnnotator | None
    bias: BlandAltman | None  # judge − panel's mean mark
    why_not: tuple[str, ...]  # what could not be computed, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """Items that the judge scored, with the panel's marks."""

    scores: Floats  # [items]
    means: Floats  # [items]
    marks: Floats  # [items, raters]
    clusters: list[str]
    n_missing: int  # items without a score


def validate_marks(study: Study, rated: Sequence[RatedSlot], one: JudgedCriterion) -> MarkValidation:
    """Everything that marks of the same replies can say of a judge."""
    marks = mark_table(rated, one.name)
    beside = _beside(rated, one, marks)
    level, seed, notes = study.design.level, study.design.seed, list[str]()
    is_named = one.name in study.labels  # marks are words: none is higher than another

    def correlation() -> Estimate:
        rng = stream(seed, "correlation", one.name)
        return spearman(
            beside.scores, beside.means, clusters=beside.clusters, rng=rng, level=level, n_missing=beside.n_missing
        )

    def linear() -> Estimate:
        rng = stream(seed, "linear", one.name)
        return pearson(
            beside.scores, beside.means, clusters=beside.clusters, rng=rng, level=level, n_missing=beside.n_missing
        )

    def within() -> Estimate:
        return kendall_within(
            beside.scores, beside.means, clusters=beside.clusters, level=level, n_missing=beside.n_missing
        )

    def among_people() -> Estimate:
        rng = stream(seed, "agreement", one.name)
        return krippendorff_alpha(
            marks.table, scale="nominal" if is_named else "ordinal", clusters=marks.clusters, rng=rng, level=level
        )

    def kappa() -> Estimate:
        said = _majority(beside.marks) if is_named else np.rint(beside.means)
        rng = stream(seed, "kappa", one.name)
        return cohens_kappa(
            np.rint(beside.scores),
            said,
            clusters=beside.clusters,
            rng=rng,
            weights="none" if is_named else "quadratic",
            level=level,
            n_missing=beside.n_missing,
        )

    def bias() -> BlandAltman:
        return bland_altman(
            beside.scores, beside.means, clusters=beside.clusters, level=level, n_missing=beside.n_missing
        )

    def annotators() -> AlternativeAnnotator:
        alignment: Literal["exact", "distance"] = "exact" if is_named else "distance"
        return _annotators(beside, marks, study.design.epsilon, level, alignment)

    if not one.is_mark:
        notes.append(NOT_A_MARK)
    return MarkValidation(
        correlation=None if is_named else _attempt(notes, "correlation", correlation),
        linear=None if is_named else _attempt(notes, "linear correlation", linear),
        within=None if is_named else _attempt(notes, "correlation within clusters", within),
        among_people=_attempt(notes, "agreement among people", among_people),
        kappa=_attempt(notes, "kappa", kappa) if one.is_mark else None,
        annotators=_attempt(notes, "alternative-annotator test", annotators) if one.is_mark else None,
        bias=_attempt(notes, "bias", bias) if one.is_mark and not is_named else None,
        why_not=tuple(notes),
    )


def _attempt(notes: list[str], what: str, compute: Callable[[], T]) -> T | None:
    """A figure, or a note why there is none."""
    try:
        return compute()
    except InputError as err:
        notes.append(f"{what}: {err}")
        return None


def _beside(rated: Sequence[RatedSlot], one: JudgedCriterion, marks: MarkTable) -> _Beside:
    reply = {r.item_id: (r.prompt_id, r.replies[0].variant, r.replies[0].draw) for r in rated}
    scores = np.array([one.values.get(reply[item], math.nan) for item in marks.items])
    kept = np.flatnonzero(~np.isnan(scores)).tolist()
    return _Beside(
        scores=scores[kept],
        means=np.nanmean(marks.table[kept], axis=1),
        marks=marks.table[kept],
        clusters=[marks.clusters[i] for i in kept],
        n_missing=len(scores) - len(kept),
    )


def _majority(marks: Floats) -> Floats:
    """[items] the word that most raters gave; of several, the first by code."""
    codes = np.unique(marks[~np.isnan(marks)])
    return np.asarray(codes[np.argmax([np.count_nonzero(marks == code, axis=1) for code in codes], axis=0)])


def _annotators(
    beside: _Beside, marks: MarkTable, epsilon: float, level: float, alignment: Literal["exact", "distance"]
) -> AlternativeAnnotator:
    return alternative_annotator(
        beside.scores,
        {rater: beside.marks[:, i] for i, rater in enumerate(marks.raters)},
        clusters=beside.clusters,
        epsilon=epsilon,
        alignment=alignment,
        level=level,
    )
