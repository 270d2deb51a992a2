"""Judge against people, from one study: agreement, alternative-annotator test, bias, and contrasts that people correct.

What a judge's scores are compared with are the marks (or votes) that count in the study; the corrected contrasts speak
of all prompts that the study's sample was drawn from, with the probability recorded when it was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from harness.errors import InputError
from harness.experiment.measured_arms import SCORES
from harness.experiment.session import OnProgress, Session
from harness.judging.scored import ScoredGeneration
from harness.reporting.finished_reports import record_of
from harness.store.artifacts import digest_json, from_json, read_json, read_manifest, read_parquet, to_json, write_json
from harness.store.tracking import Stage
from harness.studies.corrected import JudgedCriterion, ValidatedContrast, mark_contrasts, vote_contrasts
from harness.studies.exclusion import excluded_raters, rater_qualities
from harness.studies.judge_marks import MarkValidation, validate_marks
from harness.studies.rating_rows import RatedSlot, counted, panel, read_rows
from harness.studies.studies import Study

REVISION = 2
VALIDATION = "validation.json"
LIKELIHOOD = "likelihood"  # mode of scores that are no marks


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
