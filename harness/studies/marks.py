"""Marks on a scale: means and contrasts of variants per criterion, and how far raters agree on marks and on votes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import InputError
from harness.seeding import stream
from harness.stats import RaterClaims, fleiss_kappa, krippendorff_alpha, rater_contrast
from harness.studies.rating_rows import RatedSlot
from harness.studies.studies import Study
from harness.types import Estimate

VOTES = "votes"  # what agreement is about where there are no criteria


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far raters agree beyond chance."""

    about: str  # a criterion, or "votes"
    krippendorff: Estimate | None  # gaps allowed
    fleiss: Estimate | None  # votes that the whole panel gave
    why_not: str  # why one is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkResult:
    """One criterion; every number as two claims, about these raters and about raters like them."""

    criterion: str
    means: tuple[tuple[str, RaterClaims], ...]  # by variant
    contrasts: tuple[tuple[str, str, RaterClaims], ...]  # variant, opponent, difference of their marks


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkTable:
    """[items, raters] marks; NaN where a rater has none."""

    items: tuple[int, ...]
    raters: tuple[str, ...]
    table: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    clusters: Sequence[str]  # per item


def mark_results(study: Study, rows: Sequence[RatedSlot]) -> tuple[MarkResult, ...]:
    """Means and differences per criterion, errors shared within raters and within films."""
    return tuple(_criterion(study, rows, c.name) for c in study.criteria if c.name not in study.labels) if rows else ()


def mark_table(rows: Sequence[RatedSlot], value: str | None) -> MarkTable:
    """Marks of one criterion (None: votes, a number for each variant that may win) as a table of items and raters."""
    if value is not None:
        rows = [r for r in rows if not math.isnan(_number(r, value))]
    items = list(dict.fromkeys(r.item_id for r in rows))
    raters = sorted({r.rater for r in rows})
    places = {item: place for place, item in enumerate(items)}, {rater: place for place, rater in enumerate(raters)}
    table = np.full((len(items), len(raters)), math.nan)
    clusters = {r.item_id: r.cluster for r in rows}
    variants = sorted({reply.variant for r in rows for reply in r.replies})
    kinds = {name: float(place) for place, name in enumerate([*variants, "tie", "both_bad"])}
    for row in rows:
        number = kinds[row.winner or ""] if value is None else _number(row, value)
        table[places[0][row.item_id], places[1][row.rater]] = number
    return MarkTable(items=tuple(items), raters=tuple(raters), table=table, clusters=[clusters[i] for i in items])


def vote_agreement(study: Study, votes: Sequence[RatedSlot]) -> tuple[Agreement, ...]:
    """Agreement on votes, by variant and not by side."""
    return (_agreement(study, votes, None, "nominal"),) if votes else ()


def mark_agreement(study: Study, rows: Sequence[RatedSlot]) -> tuple[Agreement, ...]:
    """Agreement on each criterion's marks."""
    scales: dict[bool, Literal["nominal", "ordinal"]] = {True: "nominal", False: "ordinal"}
    return tuple(_agreement(study, rows, c.name, scales[c.name in study.labels]) for c in study.criteria if rows)


def _agreement(
    study: Study, rows: Sequence[RatedSlot], criterion: str | None, scale: Literal["nominal", "ordinal"]
) -> Agreement:
    marks, name = mark_table(rows, criterion), criterion or VOTES
    seed, level = study.design.seed, study.design.level
    alpha = kappa = None
    why_not = ""
    try:
        rng = stream(seed, "agreement", name)
        alpha = krippendorff_alpha(marks.table, scale=scale, clusters=marks.clusters, rng=rng, level=level)
        whole = np.flatnonzero(~np.isnan(marks.table).any(axis=1)).tolist()
        if scale == "nominal" and len(whole):
            clusters = [marks.clusters[i] for i in whole]
            n_missing = len(marks.table) - len(whole)
            rng = stream(seed, "kappa", name)
            kappa = fleiss_kappa(marks.table[whole], clusters=clusters, rng=rng, level=level, n_missing=n_missing)
    except InputError as err:
        why_not = str(err)
    return Agreement(about=name, krippendorff=alpha, fleiss=kappa, why_not=why_not)


def _number(row: RatedSlot, criterion: str) -> float:
    return float(row.marks.get(criterion, math.nan))


def _criterion(study: Study, rows: Sequence[RatedSlot], name: str) -> MarkResult:
    rows = [r for r in rows if not math.isnan(_number(r, name))]
    variants = list(dict.fromkeys(r.replies[0].variant for r in sorted(rows, key=lambda r: r.item_id)))
    means = tuple(
        (variant, _mean(study, [(r, _number(r, name)) for r in rows if r.replies[0].variant == variant]))
        for variant in variants
    )
    contrasts = []
    for variant, opponent in itertools.combinations(variants, 2):
        marked = {(r.rater, r.prompt_id, r.replies[0].variant): r for r in rows}
        pairs = [
            (r, _number(r, name) - _number(marked[rater, prompt, opponent], name))
            for (rater, prompt, who), r in marked.items()
            if who == variant and (rater, prompt, opponent) in marked
        ]
        if pairs:
            contrasts.append((variant, opponent, _mean(study, pairs)))
    return MarkResult(criterion=name, means=means, contrasts=tuple(contrasts))


def _mean(study: Study, marked: Sequence[tuple[RatedSlot, float]]) -> RaterClaims:
    return rater_contrast(
        [value for _, value in marked],
        raters=[r.rater for r, _ in marked],
        prompts=[r.cluster for r, _ in marked],
        level=study.design.level,
    )
