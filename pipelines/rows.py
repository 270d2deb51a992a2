"""From stored rows to measured arms: every value keeps its prompt, its film and the file it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.ablation.analysis import MeasuredArm, Row
from harness.ablation.measures import CATALOGUE
from harness.artifacts import read_manifest, read_parquet
from harness.errors import InputError
from harness.judging.results import ScoredGeneration
from harness.metrics.diversity import FilmDiversity
from harness.metrics.heldout import HeldoutLoss
from harness.metrics.replies import ReplyMetrics
from harness.types import Generation, Source
from pipelines.imported import SCORES_FILE, read_scores

if TYPE_CHECKING:
    from harness.tracking import StageResult, Tracking
    from pipelines.judges import JudgeUse

GENERATIONS = "generations.parquet"
REPLY_METRICS = "reply_metrics.parquet"
DIVERSITY = "diversity.parquet"
HELDOUT = "heldout.parquet"
SCORES = "scores.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """A variant's generations and the stage they stand in."""

    variant: str
    generations: tuple[Generation, ...]
    stage: StageResult


def read_replies(variant: str, stage: StageResult) -> Replies:
    """The generations of a variant."""
    generations = tuple(read_parquet(stage.folder / GENERATIONS, Generation))
    return Replies(variant=variant, generations=generations, stage=stage)


def heldout_arm(variant: str, stage: StageResult) -> MeasuredArm:
    """Held-out loss of a variant, a row per human reply."""
    losses = read_parquet(stage.folder / HELDOUT, HeldoutLoss)
    return MeasuredArm(
        measure="heldout_loss",
        variant=variant,
        rows=tuple(Row(prompt_id=r.prompt_id, cluster=r.cluster, value=r.bits_per_byte) for r in losses),
        sources=(_source(stage, HELDOUT),),
    )


def metric_arms(stage: StageResult, *, variants: Sequence[str], wanted: Sequence[str]) -> list[MeasuredArm]:
    """The measures that need no judge: a row per reply or, for diversity, a jackknife value per film."""
    replies = read_parquet(stage.folder / REPLY_METRICS, ReplyMetrics)
    films = read_parquet(stage.folder / DIVERSITY, FilmDiversity)
    arms = []
    for name in wanted:
        origin = CATALOGUE[name].origin
        for variant in variants:
            if origin == "replies":
                file = REPLY_METRICS
                rows = [
                    Row(prompt_id=r.prompt_id, cluster=r.cluster, value=getattr(r, name), draw=r.draw)
                    for r in replies
                    if r.variant == variant
                ]
            elif origin == "variant":
                file = DIVERSITY
                rows = [
                    Row(prompt_id=f.cluster, cluster=f.cluster, value=getattr(f, name))
                    for f in films
                    if f.variant == variant
                ]
            else:
                continue
            sources = (_source(stage, file, variant=variant),)
            arms.append(MeasuredArm(measure=name, variant=variant, rows=tuple(rows), sources=sources))
    return arms


def score_arms(stage: StageResult, *, measures: Mapping[str, JudgeUse], variants: Sequence[str]) -> list[MeasuredArm]:
    """A judge's scores, a row per reply, for each measure that it serves."""
    scores = read_parquet(stage.folder / SCORES, ScoredGeneration)
    return [
        MeasuredArm(
            measure=name,
            variant=variant,
            rows=tuple(
                Row(prompt_id=s.prompt_id, cluster=s.cluster, value=s.value, draw=s.draw)
                for s in scores
                if s.variant == variant and s.criterion == use.criterion
            ),
            sources=(_source(stage, SCORES, variant=variant, criterion=use.criterion),),
            judge_id=use.judge_id,
        )
        for name, use in measures.items()
        for variant in variants
    ]


def imported_arms(tracking: Tracking, measure: str, run_id: str, replies: Mapping[str, Replies]) -> list[MeasuredArm]:
    """Scores made elsewhere, for the replies at hand; a reply without one is missing.

    Raises:
        InputError: the run holds no imported scores, or none for one of the variants.
    """
    info = tracking.source_of(tracking.run(run_id))
    folder = tracking.folder(info.run_id)
    if not (folder / SCORES_FILE).is_file():
        raise InputError(f"measure `{measure}`: run {run_id} must come from `screentest scores import`")
    values = {(s.prompt_id, s.variant, s.draw): s.value for s in read_scores(folder)}
    digest = read_manifest(folder)[SCORES_FILE]
    arms = []
    for variant, reply in replies.items():
        rows = tuple(
            Row(
                prompt_id=g.prompt_id,
                cluster=g.cluster,
                value=values.get((g.prompt_id, variant, g.draw)),
                draw=g.draw,
            )
            for g in reply.generations
        )
        if all(row.value is None for row in rows):
            raise InputError(f"measure `{measure}`: run {run_id} must hold values for variant `{variant}`; it has none")
        source = Source(run_id=info.run_id, artifact=SCORES_FILE, where={"variant": variant}, digest=digest)
        arms.append(MeasuredArm(measure=measure, variant=variant, rows=rows, sources=(source,)))
    return arms


def _source(stage: StageResult, artifact: str, **where: str) -> Source:
    digest = read_manifest(stage.folder)[artifact]
    return Source(run_id=stage.source_run_id, artifact=artifact, where=where, digest=digest)
