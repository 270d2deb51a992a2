"""A judge's scores, or samples of its answers, that were made elsewhere: stored as the scores of a judge with an id."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.doors.ratings import VOTE, Answer, is_number, read_answers
from harness.doors.text import read_id, require_sound, shown
from harness.errors import CorpusError, InputError
from harness.experiment.measured_arms import SCORES
from harness.experiment.session import OnProgress, Session
from harness.judging.reasoned import AnswerForm, read_said
from harness.judging.scored import ScoredGeneration
from harness.store.artifacts import digest_file, digest_json, write_parquet
from harness.store.tracking import Stage, StageResult
from harness.studies.imported import ITEMS, REPLY
from harness.studies.studies import Study
from harness.types import ScoreStatus

REVISION = 1
IMPORTED, SAMPLED = "imported", "sampled"  # modes of scores and of samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedJudge:
    """What was stored."""

    stage: StageResult
    scores: tuple[ScoredGeneration, ...]
    n_unknown: int  # of items that the study does not hold
    n_samples: int
    n_unread: int  # samples that are no score: missing, never 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    judge: str
    criterion: str | None
    scale: tuple[int, int] | None
    form: AnswerForm
    study: Study | None
    counts: Counter[str]


def import_judge(
    session: Session,
    path: Path,
    *,
    judge: str,
    criterion: str | None = None,
    scale: tuple[int, int] | None = None,
    form: AnswerForm = "score",
    study: Study | None = None,
) -> ImportedJudge:
    """Store a judge's scores as a run that `judge validate --scores` takes.

    Args:
        path: rows with item, criterion and value (a list: samples), or any form that ratings take.
        judge: its id; of a file with several judges, which of them.
        scale: lowest and highest score; samples need it.
        form: how a sample is written.
        study: whose items they are: words are coded as there, and items that it does not hold are left out.

    Raises:
        CorpusError: file, line and rule: no item, an item twice, a score outside the scale or that is none.
    """
    require_sound(judge, "judge")
    answers = read_answers(path, questions=[criterion] if criterion else [])
    names = {answer.rater for answer in answers.rows}
    if len(names) > 1 and judge not in names:
        listed = ", ".join(map(str, sorted(names, key=str)))
        raise InputError(f"`--judge` must be one of the judges in {path}, {listed}; got {judge}")
    rows = [answer for answer in answers.rows if len(names) == 1 or answer.rater == judge]
    how = _How(judge=judge, criterion=criterion, scale=scale, form=form, study=study, counts=Counter())
    words = _words(study, rows, how)
    found: dict[tuple[str, str, str], ScoredGeneration] = {}
    for answer in rows:
        try:
            score = _score(answer, how, words)
        except InputError as err:
            raise CorpusError(path, str(err), line=answer.line) from err
        if score is None:
            continue
        key = (score.prompt_id, score.variant, score.criterion)
        if key in found:
            raise CorpusError(path, f"an item must be scored once on {score.criterion}, got {shown(key[0])} again",
                              line=answer.line)  # fmt: skip
        found[key] = score
    if not found:
        raise CorpusError(path, f"must hold a score of an item of {study.name if study else 'any kind'}, got none")
    scores = tuple(found.values())

    def work(stage: Stage, on_progress: OnProgress) -> None:
        write_parquet(stage.folder / SCORES, scores, ScoredGeneration)
        stage.set_tag("judge_id", judge)
        stage.log_metric("rows", len(scores))
        stage.log_metric("missing", sum(score.value is None for score in scores))

    result = session.stage(
        "scores",
        label=f"Import scores of {judge}",
        revision=REVISION,
        config={"judge": judge, "criterion": criterion, "scale": scale, "form": form},
        inputs={"file": digest_file(path), **({"study": study.declaration} if study else {})},
        work=work,
        adopt=True,
    )
    counts = how.counts
    return ImportedJudge(stage=result, scores=scores, n_unknown=counts["unknown"], n_samples=counts["samples"],
                         n_unread=counts["unread"])  # fmt: skip


def _words(study: Study | None, rows: Sequence[Answer], how: _How) -> Mapping[str, Mapping[str, int]]:
    """Codes of words by criterion: those of the study, and after them what no person said."""
    found = {}
    for criterion, known in (study.labels if study else {}).items():
        own = {str(row.value).strip() for row in rows if _criterion(row, how) == criterion}
        listed = [*known, *sorted(own - {*known})]
        found[criterion] = {word: code for code, word in enumerate(listed)}
    return found


def _criterion(answer: Answer, how: _How) -> str:
    only = how.study.criteria[0].name if how.study is not None and len(how.study.criteria) == 1 else None
    name = answer.question or how.criterion or only
    if name is None or name == VOTE:
        raise InputError("`criterion` must say what was scored; add the column, or `--criterion`")
    return require_sound(name, "criterion")


def _score(answer: Answer, how: _How, words: Mapping[str, Mapping[str, int]]) -> ScoredGeneration | None:
    facts, criterion = answer.facts, _criterion(answer, how)
    item = read_id(facts.get("item"), "item")
    if item is None:
        raise InputError("`item` must say what was scored, got none")
    variant = read_id(facts.get("variant"), "variant")
    places: Mapping[str, Sequence[str]] = how.study.lineage.get(ITEMS, {}) if how.study else {}
    if places and item not in places:
        how.counts["unknown"] += 1
        return None
    prompt, of_item = places.get(item, (read_id(facts.get("prompt_id"), "prompt_id") or item, variant or REPLY))
    value, mass, status, reason = _value(answer, how, criterion, words.get(criterion))
    return ScoredGeneration(
        prompt_id=prompt,
        variant=variant or of_item,
        draw=0,
        cluster=read_id(facts.get("cluster"), "cluster") or prompt,
        criterion=criterion,
        judge_id=how.judge,
        value=value,
        status=status,
        mass=mass,
        mode=IMPORTED if mass is None else SAMPLED,
        reason=reason,
        item_id=digest_json([prompt, variant or of_item, 0])[:16],
    )


def _value(
    answer: Answer, how: _How, criterion: str, words: Mapping[str, int] | None
) -> tuple[float | None, float | None, ScoreStatus, str]:
    """Value, share of samples that were a score, status, reason."""
    said = answer.value
    if isinstance(said, list):
        return _of_samples(said, how)
    if words is not None:
        return float(words[str(said).strip()]), None, "ok", ""
    if not is_number(said):
        raise InputError(
            f"`value` of {criterion} must be a number, or samples in a list, got {shown(said)}; words need `--study`, "
            "whose people gave such words"
        )
    value = float(said)
    if how.scale is not None and not how.scale[0] <= value <= how.scale[1]:
        raise InputError(f"`value` must lie on the scale {how.scale[0]}-{how.scale[1]}, got {shown(said)}")
    return value, None, "ok", ""


def _of_samples(samples: list[Any], how: _How) -> tuple[float | None, float | None, ScoreStatus, str]:
    if how.scale is None:
        raise InputError("samples need their scale: `--scale 1-5`")
    options = [str(score) for score in range(how.scale[0], how.scale[1] + 1)]
    read = [read_said(sample if isinstance(sample, str) else str(sample), options, form=how.form) for sample in samples]
    scores = [float(one.score) for one in read if one is not None]
    how.counts["samples"] += len(samples)
    how.counts["unread"] += len(samples) - len(scores)
    if not scores:
        return None, 0.0, "unparsable", f"none of {len(samples)} samples was a score"
    reason = next((one.reason for one in read if one is not None and one.reason), "")
    return math.fsum(scores) / len(scores), len(scores) / len(samples), "ok", reason
