"""Judge against people, from one study: agreement, alternative-annotator test, bias, and contrasts that people correct.

What a judge's scores are compared with are the marks (or votes) that count in the study; the corrected contrasts speak
of all prompts that the study's sample was drawn from, with the probability recorded when it was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.random import Generator
from sqlalchemy import Engine

from harness.errors import InputError
from harness.experiment.measured_arms import SCORES
from harness.experiment.session import OnProgress, Session
from harness.judging.scored import ScoredGeneration
from harness.reporting.finished_reports import record_of
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
from harness.store.artifacts import digest_json, from_json, read_json, read_manifest, read_parquet, to_json, write_json
from harness.store.tracking import Stage
from harness.studies.corrected import JudgedCriterion, ValidatedContrast, mark_contrasts, vote_contrasts
from harness.studies.exclusion import excluded_raters, rater_qualities
from harness.studies.marks import mark_table
from harness.studies.rating_rows import RatedSlot, counted, panel, read_rows
from harness.studies.studies import Study
from harness.types import Estimate

T = TypeVar("T")

REVISION = 2
VALIDATION = "validation.json"
NOT_A_MARK = "kappa, bias and the alternative-annotator test need scores on the scale that people mark on"
LIKELIHOOD = "likelihood"  # mode of scores that are no marks


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
class ValidatedCriterion:
    """A judge on one criterion."""

    criterion: str
    judge_id: str
    marks: MarkValidation | None  # None: the study took votes
    contrasts: tuple[ValidatedContrast, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """A judge against the people of one study."""

    study: str
    declaration: str
    run_id: str  # the stage that holds these figures
    criteria: tuple[ValidatedCriterion, ...]


def validate_judge(session: Session, engine: Engine, study: Study, scores: Sequence[str]) -> Validation:
    """Compare a judge's stored scores with a study's ratings; a stage like any other.

    Args:
        study: whose ratings; those that count.
        scores: runs that hold the scores, or `variant=run` where a run scored one file of replies.

    Raises:
        InputError: no rating counts yet, a run without scores, or scores of other replies than those rated.
    """
    rows = read_rows(engine, study)
    excluded = excluded_raters(rater_qualities(study, rows))
    rated = counted(rows, excluded=excluded)
    if study.split != "test" or not rated:
        raise InputError(f"`{study.name}` must hold ratings of TEST prompts that count before a judge can be compared")
    drawn = frozenset(r.prompt_id for r in panel(rows, excluded=excluded))
    judged, digests = _read_scores(session, scores)
    criteria = _criteria(study, judged)
    for one in criteria:
        _require_same_replies(rated, one)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        write_json(stage.folder / VALIDATION, [_validated(study, rated, drawn, one) for one in criteria])
        stage.set_tag("study", study.name)

    result = session.stage(
        "validate",
        label=f"Judge against people ({study.name})",
        revision=REVISION,
        config={"study": study.name, "declaration": study.declaration},
        inputs={"ratings": digest_json([(r.slot, to_json(r.rating)) for r in rated]), **digests},
        work=work,
    )
    rows = read_json(result.folder / VALIDATION)
    return Validation(
        study=study.name,
        declaration=study.declaration,
        run_id=result.run_id,
        criteria=tuple(from_json(ValidatedCriterion, row) for row in rows),
    )


def _validated(
    study: Study, rated: Sequence[RatedSlot], drawn: frozenset[str], one: JudgedCriterion
) -> ValidatedCriterion:
    is_marked = bool(study.criteria)
    return ValidatedCriterion(
        criterion=one.name,
        judge_id=one.judge_id,
        marks=validate_marks(study, rated, one) if is_marked else None,
        contrasts=(mark_contrasts if is_marked else vote_contrasts)(study, rated, one, drawn=drawn),
    )


def _read_scores(session: Session, scores: Sequence[str]) -> tuple[list[ScoredGeneration], dict[str, str]]:
    found: list[ScoredGeneration] = []
    digests: dict[str, str] = {}
    for text in scores:
        variant, _, run = text.rpartition("=")
        for run_id in _score_runs(session, run):
            folder = session.tracking.folder(run_id)
            digests[f"scores {variant or 'all'} {run_id}"] = read_manifest(folder)[SCORES]
            rows = read_parquet(folder / SCORES, ScoredGeneration)
            found += [replace(row, variant=variant) for row in rows] if variant else rows
    return found, digests


def _score_runs(session: Session, run: str) -> list[str]:
    """The run itself where it holds scores, or the judging stages of the evaluation that it is."""
    info = session.tracking.source_of(session.tracking.run(run))
    if (session.tracking.folder(info.run_id) / SCORES).is_file():
        return [info.run_id]
    below = [line.run_id for line in record_of(session.tracking, run).stages if line.name == "judge"]
    if not below:
        raise InputError(f"`--scores`: {run} must be a run with a judge's scores, or an evaluation that has some")
    return below


def _criteria(study: Study, judged: Sequence[ScoredGeneration]) -> list[JudgedCriterion]:
    """The scores that this study can speak of, by criterion and judge."""
    groups: dict[tuple[str, str], list[ScoredGeneration]] = {}
    for score in judged:
        groups.setdefault((score.criterion, score.judge_id), []).append(score)
    scales: Mapping[str, tuple[float, float]] = {
        c.name: (0, math.inf) if c.name in study.labels else c.scale for c in study.criteria
    }  # a judge may give words that no person gave
    found = [
        _judged(name, judge_id, rows, scales.get(name, (math.inf, -math.inf)))
        for (name, judge_id), rows in sorted(groups.items())
        if name in scales or not scales
    ]
    if not found:
        listed = ", ".join(sorted({s.criterion for s in judged})) or "none"
        raise InputError(f"`--scores` must hold scores on {' or '.join(scales) or 'a criterion'}, got {listed}")
    return found


def _judged(name: str, judge_id: str, rows: Sequence[ScoredGeneration], scale: tuple[float, float]) -> JudgedCriterion:
    values = {(s.prompt_id, s.variant, s.draw): s.value for s in rows if s.value is not None}
    low, high = scale
    return JudgedCriterion(
        name=name,
        judge_id=judge_id,
        values=values,
        clusters={s.prompt_id: s.cluster for s in rows},
        is_mark=all(s.mode != LIKELIHOOD for s in rows) and all(low <= value <= high for value in values.values()),
    )


def _require_same_replies(rated: Sequence[RatedSlot], one: JudgedCriterion) -> None:
    known = {(r.prompt_id, reply.variant, reply.draw) for r in rated for reply in r.replies}
    if not known & one.values.keys():
        variants = ", ".join(sorted({variant for _, variant, _ in known}))
        raise InputError(
            f"`--scores` must be of the replies that were rated ({variants}), got other prompts or variants; "
            "name the variant of a run that scored one file: --scores sft=RUN"
        )


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
