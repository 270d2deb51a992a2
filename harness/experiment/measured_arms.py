"""From stored rows to measured arms: every value keeps its prompt, its film and the file it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.experiment.analysis.columns import read_columns
from harness.experiment.analysis.contrasts import MeasuredArm
from harness.experiment.analysis.values import Row, Rows
from harness.experiment.imported_scores import SCORES_FILE, ImportedScore, read_scores
from harness.measures.heldout import TOTAL, as_mean
from harness.store.artifacts import read_manifest, read_parquet
from harness.types import Generation, Prompt, Source

if TYPE_CHECKING:
    from harness.experiment.judges.judge_uses import JudgeUse
    from harness.store.tracking import StageResult, Tracking

GENERATIONS = "generations.parquet"
TEXT_MEASURES = "reply_metrics.parquet"  # and the stage `metrics`: as finished runs have them
DIVERSITY = "diversity.parquet"
MEASURED = "measured.parquet"  # of a function
HELDOUT = "heldout.parquet"
SCORES = "scores.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """A variant's generations and the stage they stand in."""

    variant: str
    generations: tuple[Generation, ...]
    stage: StageResult

    def named(self, name: str) -> Replies:
        """The same under another name, in its rows too."""
        if all(generation.variant == name for generation in self.generations):
            return replace(self, variant=name)
        generations = tuple(replace(generation, variant=name) for generation in self.generations)
        return replace(self, variant=name, generations=generations)


def read_replies(variant: str, stage: StageResult) -> Replies:
    """The generations of a variant."""
    generations = tuple(read_parquet(stage.folder / GENERATIONS, Generation))
    return Replies(variant=variant, generations=generations, stage=stage)


def scored_replies(variant: str, replies: Replies) -> Scored:
    """The places of replies."""
    places = (Row(prompt_id=g.prompt_id, cluster=g.cluster, value=None, draw=g.draw) for g in replies.generations)
    return Scored(variant=variant, places=tuple(places))


def heldout_arm(variant: str, stage: StageResult, *, measure: str) -> MeasuredArm:
    """Held-out loss of a variant, weighed in one of its two ways, a row per human reply."""
    source = source_of(stage, HELDOUT)
    rows = rows_of_source(stage.folder, source, measure=measure)
    return MeasuredArm(measure=measure, variant=variant, rows=rows, sources=(source,))


def score_arms(stage: StageResult, *, measures: Mapping[str, JudgeUse], variants: Sequence[str]) -> list[MeasuredArm]:
    """A judge's scores, a row per reply, for each measure that it serves."""
    columns = read_columns(stage.folder / SCORES, values=("value",))
    return [
        MeasuredArm(
            measure=name,
            variant=variant,
            rows=columns.rows("value", variant=variant, criterion=use.criterion),
            sources=(source_of(stage, SCORES, variant=variant, criterion=use.criterion),),
            judge_id=use.judge_id,
        )
        for name, use in measures.items()
        for variant in variants
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What scores made elsewhere are to be of: the places of an arm's replies, or of its prompts where it has none."""

    variant: str  # as the scores name it
    places: tuple[Row, ...]  # without values


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """Scores made elsewhere, for replies at hand."""

    run_id: str
    digest: str
    scores: tuple[ImportedScore, ...]

    def of_prompts(self, variant: str, prompts: Sequence[Prompt]) -> Scored:
        """Where scores are all that there is: every prompt, with the draws that it was scored on."""
        draws: dict[str, list[int]] = {}
        for score in self.scores:
            if score.variant == variant:
                draws.setdefault(score.prompt_id, []).append(score.draw)
        places = (
            Row(prompt_id=p.id, cluster=p.cluster, value=None, draw=d) for p in prompts for d in draws.get(p.id, [0])
        )
        return Scored(variant=variant, places=tuple(places))

    def arm(self, measure: str, scored: Scored) -> MeasuredArm:
        """The scores under the variant's name; a place without one is missing.

        Raises InputError: there is none of that name.
        """
        variant = scored.variant
        values = {(s.prompt_id, s.draw): s.value for s in self.scores if s.variant == variant}
        rows = Rows.of(replace(place, value=values.get((place.prompt_id, place.draw))) for place in scored.places)
        if rows.n_missing == len(rows):
            raise InputError(
                f"measure `{measure}`: run {self.run_id} must hold values for variant `{variant}`; it has none"
            )
        source = Source(run_id=self.run_id, artifact=SCORES_FILE, where={"variant": variant}, digest=self.digest)
        return MeasuredArm(measure=measure, variant=variant, rows=rows, sources=(source,))


def read_imported_run(tracking: Tracking, measure: str, run_id: str) -> ImportedRun:
    """What `screentest scores import` stored. Raises InputError: the run holds no imported scores."""
    info = tracking.source_of(tracking.run(run_id))
    folder = tracking.folder(info.run_id)
    if not (folder / SCORES_FILE).is_file():
        raise InputError(f"measure `{measure}`: run {run_id} must come from `screentest scores import`")
    digest = read_manifest(folder)[SCORES_FILE]
    return ImportedRun(run_id=info.run_id, digest=digest, scores=tuple(read_scores(folder)))


def value_column(file: str, *, measure: str) -> str:
    """The column of a file of rows that holds a measure's values."""
    return {HELDOUT: "bits_per_byte", **dict.fromkeys((SCORES, SCORES_FILE, MEASURED), "value")}.get(file, measure)


def rows_of_source(folder: Path, source: Source, *, measure: str) -> Rows:
    """The rows under a variant's number, from the folder of the run that its source names."""
    file = source.artifact
    if (file, measure) == (HELDOUT, TOTAL):
        held = read_columns(folder / file, values=("total_bits", "n_bytes"))
        rows, sizes = (held.rows(name, **source.where) for name in ("total_bits", "n_bytes"))
        return rows if rows.n_missing == len(rows) else replace(rows, values=as_mean(rows.values, sizes.values))
    column = value_column(file, measure=measure)
    prompt = "cluster" if file == DIVERSITY else "prompt_id"
    return read_columns(folder / file, values=(column,), prompt=prompt).rows(column, **source.where)


def source_of(stage: StageResult, artifact: str, **where: str) -> Source:
    """The path from a number to the rows of a stage."""
    digest = read_manifest(stage.folder)[artifact]
    return Source(run_id=stage.source_run_id, artifact=artifact, where=where, digest=digest)
