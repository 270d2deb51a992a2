"""Generations of an evaluation side by side with what judges made of them, and which of them may be looked at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from harness.judging.scored import ScoredGeneration
from harness.reporting.record import SampleScore
from harness.store.artifacts import read_parquet
from harness.studies.exclusion import counting
from harness.studies.rankings import as_pairs
from harness.studies.rating_rows import read_rows
from harness.studies.sql_schema import items, studies
from harness.studies.studies import find_study
from harness.types import Generation, Prompt

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from harness.reporting.record import ReportRecord
    from harness.store.tracking import Tracking

GENERATIONS, SCORES, PROMPTS = "generations.parquet", "scores.parquet", "prompts-test.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One prompt and every variant's reply, with its scores."""

    prompt: Prompt
    replies: tuple[Generation, ...]  # first draws
    scores: Mapping[str, Mapping[str, SampleScore]]  # variant -> "criterion · judge" -> score

    def holds(self, words: str) -> bool:
        """Whether scene, human reply, film or a reply contains the words, in any case."""
        said = (*(m.content for m in self.prompt.messages), *map(text_of, self.replies))
        texts = (self.prompt.cluster, self.prompt.reference or "", *said)
        return any(words.casefold() in text.casefold() for text in texts)

    def value(self, variant: str, score: str) -> float | None:
        """A reply's score; None where it is missing."""
        found = self.scores.get(variant, {}).get(score)
        return None if found is None else found.value


def text_of(reply: Generation) -> str:
    """What a reply says, or why there is none."""
    return reply.reason if reply.is_missing else reply.text


def read_gallery(tracking: Tracking, record: ReportRecord) -> tuple[Exhibit, ...]:
    """Every prompt of an evaluation with its first draws, in the order of the corpus."""
    folders = {
        name: [tracking.folder(line.run_id) for line in record.stages if name in line.artifacts]
        for name in (GENERATIONS, SCORES, PROMPTS)
    }
    judges = {judge.judge_id: judge.name for judge in record.judges}
    replies = [g for folder in folders[GENERATIONS] for g in read_parquet(folder / GENERATIONS, Generation)]
    scores = [s for folder in folders[SCORES] for s in read_parquet(folder / SCORES, ScoredGeneration)]
    prompts = {p.id: p for folder in folders[PROMPTS] for p in read_parquet(folder / PROMPTS, Prompt)}
    return assemble(prompts, [g for g in replies if g.draw == 0], scores, judges)


def prepared_by(record: ReportRecord) -> str | None:
    """The run that prepared an evaluation's prompts."""
    runs = [line.run_id for line in record.stages if PROMPTS in line.artifacts]
    return runs[-1] if runs else None


def assemble(
    prompts: Mapping[str, Prompt],
    generations: Iterable[Generation],
    scores: Iterable[ScoredGeneration],
    judges: Mapping[str, str],
) -> tuple[Exhibit, ...]:
    """Join replies with their prompts and scores."""
    marked: dict[str, dict[str, dict[str, SampleScore]]] = {}  # by prompt and variant
    for s in scores:
        if s.draw == 0:
            name = f"{s.criterion} · {judges.get(s.judge_id, s.judge_id[:8])}"
            reason = s.reason if "explain" in s.mode and s.status == "ok" else ""
            score = SampleScore(measure=name, value=s.value, status=s.status, reason=reason)
            marked.setdefault(s.prompt_id, {}).setdefault(s.variant, {})[name] = score
    shown: dict[str, list[Generation]] = {}
    for g in generations:
        shown.setdefault(g.prompt_id, []).append(g)
    return tuple(
        Exhibit(prompt=p, replies=tuple(shown[p.id]), scores=marked.get(p.id, {}))
        for p in prompts.values()
        if p.id in shown
    )


def score_names(exhibits: Sequence[Exhibit]) -> list[str]:
    """What replies were scored on."""
    return sorted({name for e in exhibits for scores in e.scores.values() for name in scores})


def low_tail(exhibits: Sequence[Exhibit], *, score: str, share: float, variant: str | None = None) -> list[Exhibit]:
    """Prompts with a reply among the lowest `share` of a score, lowest first; a missing score is not a low one."""
    ranked = sorted(
        (value, number)
        for number, e in enumerate(exhibits)
        for r in e.replies
        if variant in (None, r.variant) and (value := e.value(r.variant, score)) is not None
    )
    lowest = ranked[: math.ceil(share * len(ranked))]
    return [exhibits[number] for number in dict.fromkeys(number for _, number in lowest)]


Votes = Mapping[str, Mapping[tuple[str, str], int]]  # prompt id -> (preferred, other) variant -> how often


def votes_on(engine: Engine, exhibits: Sequence[Exhibit]) -> Votes:
    """What people preferred in closed studies of these very replies; votes that count and are decided."""
    here = {(e.prompt.id, r.variant, r.text.strip()) for e in exhibits for r in e.replies}
    found: dict[str, Counter[tuple[str, str]]] = {}
    for study in (find_study(engine, name) for name in _holding(engine, exhibits, are_open=False)):
        for row in as_pairs(counting(study, read_rows(engine, study))):
            names = [r.variant for r in row.replies if (row.prompt_id, r.variant, r.text.strip()) in here]
            if len(names) == 2 and row.winner in names:
                (other,) = (name for name in names if name != row.winner)
                found.setdefault(row.prompt_id, Counter())[row.winner, other] += 1
    return found


def against_people(exhibits: Sequence[Exhibit], votes: Votes, *, score: str) -> list[Exhibit]:
    """Prompts on which people preferred the reply that a score puts lower, the most one-sided first."""

    def lead(e: Exhibit) -> int:
        said, leads = votes.get(e.prompt.id, {}), [0]
        for (won, other), n in said.items():
            one, two = e.value(won, score), e.value(other, score)
            leads += [n - said.get((other, won), 0)] if one is not None and two is not None and one < two else []
        return max(leads)

    return sorted((e for e in exhibits if lead(e) > 0), key=lead, reverse=True)


def studies_in_the_way(engine: Engine, exhibits: Sequence[Exhibit]) -> list[str]:
    """Open studies whose raters would be unblinded: they hold one of these replies."""
    return _holding(engine, exhibits, are_open=True)


def _holding(engine: Engine, exhibits: Sequence[Exhibit], *, are_open: bool) -> list[str]:
    with engine.begin() as connection:
        is_open = studies.c.closed_at.is_(None) if are_open else studies.c.closed_at.is_not(None)
        query = select(studies.c.name, items.c.prompt_id, items.c.replies)
        rows = connection.execute(query.join(studies, studies.c.id == items.c.study_id).where(is_open)).all()
    here = {(e.prompt.id, r.text.strip()) for e in exhibits for r in e.replies}
    found = {row.name for row in rows for r in row.replies if (row.prompt_id, r["text"].strip()) in here}
    return sorted(found)
