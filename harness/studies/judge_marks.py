"""A judge's scores beside people's marks of the same replies: correlation, kappa, stand-in test and bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.random import Generator

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
from harness.studies.marks import mark_table
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


def validate_marks(study: Study, rated: Sequence[RatedSlot], one: JudgedCriterion) -> MarkValidation:
    """Everything that marks of the same replies can say of a judge, over the items that it scored."""
    marks = mark_table(rated, one.name)
    reply = {r.item_id: (r.prompt_id, r.replies[0].variant, r.replies[0].draw) for r in rated}
    every = np.array([one.values.get(reply[item], math.nan) for item in marks.items])
    kept = np.flatnonzero(~np.isnan(every)).tolist()
    scores, table, clusters = every[kept], marks.table[kept], [marks.clusters[i] for i in kept]
    means = np.nanmean(table, axis=1)
    level, notes = study.design.level, list[str]()
    is_named = one.name in study.labels  # marks are words: none is higher than another
    scale: Literal["nominal", "ordinal"] = "nominal" if is_named else "ordinal"
    weights: Literal["none", "quadratic"] = "none" if is_named else "quadratic"
    on: dict[str, Any] = {"clusters": clusters, "level": level, "n_missing": len(every) - len(kept)}

    def rng(what: str) -> Generator:
        return stream(study.design.seed, what, one.name)

    def attempt(what: str, compute: Callable[[], T], *, is_possible: bool = True) -> T | None:
        """A figure, or a note why there is none; nothing where it would mean nothing."""
        try:
            return compute() if is_possible else None
        except InputError as err:
            notes.append(f"{what}: {err}")
            return None

    if not one.is_mark:
        notes.append(NOT_A_MARK)
    return MarkValidation(
        correlation=attempt(
            "correlation", lambda: spearman(scores, means, rng=rng("correlation"), **on), is_possible=not is_named
        ),
        linear=attempt(
            "linear correlation", lambda: pearson(scores, means, rng=rng("linear"), **on), is_possible=not is_named
        ),
        within=attempt(
            "correlation within clusters", lambda: kendall_within(scores, means, **on), is_possible=not is_named
        ),
        among_people=attempt(
            "agreement among people",
            lambda: krippendorff_alpha(
                marks.table, scale=scale, clusters=marks.clusters, rng=rng("agreement"), level=level
            ),
        ),
        kappa=attempt(
            "kappa",
            lambda: cohens_kappa(
                np.rint(scores),
                _majority(table) if is_named else np.rint(means),
                rng=rng("kappa"),
                weights=weights,
                **on,
            ),
            is_possible=one.is_mark,
        ),
        annotators=attempt(
            "alternative-annotator test",
            lambda: alternative_annotator(
                scores,
                {rater: table[:, i] for i, rater in enumerate(marks.raters)},
                clusters=clusters,
                epsilon=study.design.epsilon,
                alignment="exact" if is_named else "distance",
                level=level,
            ),
            is_possible=one.is_mark,
        ),
        bias=attempt("bias", lambda: bland_altman(scores, means, **on), is_possible=one.is_mark and not is_named),
        why_not=tuple(notes),
    )


def _majority(marks: Floats) -> Floats:
    """[items] the word that most raters gave; of several, the first by code."""
    codes = np.unique(marks[~np.isnan(marks)])
    return np.asarray(codes[np.argmax([np.count_nonzero(marks == code, axis=1) for code in codes], axis=0)])
