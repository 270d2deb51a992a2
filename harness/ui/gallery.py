"""Generations of an evaluation side by side with what judges made of them, and which of them may be looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from harness.judging.results import ScoredGeneration
from harness.reporting.record import SampleScore
from harness.store.artifacts import read_parquet
from harness.studies.schema import items, studies
from harness.types import Generation, Message, Prompt

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from harness.reporting.record import ReportRecord
    from harness.store.tracking import Tracking

GENERATIONS, SCORES, PROMPTS = "generations.parquet", "scores.parquet", "prompts-test.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReply:
    """One variant's reply with its scores."""

    variant: str
    text: str
    finish_reason: str
    thinking: str  # what came before the reply
    scores: Mapping[str, SampleScore]  # by "criterion · judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One prompt and every variant's reply."""

    prompt_id: str
    cluster: str
    messages: tuple[Message, ...]
    reference: str | None
    replies: tuple[ShownReply, ...]

    def holds(self, words: str) -> bool:
        """Whether scene, human reply, film or a reply contains the words, in any case."""
        wanted = words.casefold()
        texts = [
            self.cluster,
            self.reference or "",
            *(m.content for m in self.messages),
            *(r.text for r in self.replies),
        ]
        return any(wanted in text.casefold() for text in texts)


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
    by_reply: dict[tuple[str, str], dict[str, SampleScore]] = {}
    for s in scores:
        if s.draw == 0:
            name = f"{s.criterion} · {judges.get(s.judge_id, s.judge_id[:8])}"
            by_reply.setdefault((s.prompt_id, s.variant), {})[name] = SampleScore(
                measure=name,
                value=s.value,
                status=s.status,
                reason=s.reason if "explain" in s.mode and s.status == "ok" else "",
            )
    shown: dict[str, list[ShownReply]] = {}
    for g in generations:
        marks = by_reply.get((g.prompt_id, g.variant), {})
        reply = ShownReply(
            variant=g.variant,
            text=g.reason if g.is_missing else g.text,
            finish_reason=g.finish_reason,
            thinking=g.thinking,
            scores=marks,
        )
        shown.setdefault(g.prompt_id, []).append(reply)
    return tuple(
        Exhibit(
            prompt_id=p.id, cluster=p.cluster, messages=p.messages, reference=p.reference, replies=tuple(shown[p.id])
        )
        for p in prompts.values()
        if p.id in shown
    )


def score_names(exhibits: Sequence[Exhibit]) -> list[str]:
    """What replies were scored on."""
    return sorted({name for e in exhibits for r in e.replies for name in r.scores})


def low_tail(exhibits: Sequence[Exhibit], *, score: str, share: float, variant: str | None = None) -> list[Exhibit]:
    """Prompts with a reply among the lowest `share` of a score, lowest first; a missing score is not a low one."""
    ranked = sorted(
        (value, number)
        for number, e in enumerate(exhibits)
        for r in e.replies
        if (variant is None or r.variant == variant)
        and (found := r.scores.get(score)) is not None
        and (value := found.value) is not None
    )
    lowest = ranked[: math.ceil(share * len(ranked))]
    return [exhibits[number] for number in dict.fromkeys(number for _, number in lowest)]


def studies_in_the_way(engine: Engine, exhibits: Sequence[Exhibit]) -> list[str]:
    """Open studies whose raters would be unblinded: they hold one of these replies."""
    with engine.begin() as connection:
        is_open = studies.c.closed_at.is_(None)
        query = select(studies.c.name, items.c.prompt_id, items.c.replies)
        rows = connection.execute(query.join(studies, studies.c.id == items.c.study_id).where(is_open)).all()
    here = {(e.prompt_id, r.text.strip()) for e in exhibits for r in e.replies}
    found = {row.name for row in rows for r in row.replies if (row.prompt_id, r["text"].strip()) in here}
    return sorted(found)
