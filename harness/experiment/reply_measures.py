"""Measures that are taken of replies: the shipped ones in one table, each function in a stage of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.doors import functions
from harness.experiment.analysis.columns import read_columns
from harness.experiment.analysis.contrasts import MeasuredArm
from harness.experiment.measured_arms import DIVERSITY, MEASURED, TEXT_MEASURES, Replies, source_of
from harness.experiment.session import OnProgress, Session
from harness.measures.catalogue import CATALOGUE
from harness.measures.diversity import FilmDiversity, film_diversity
from harness.measures.measure import Measure, MeasuredReply, Taken
from harness.measures.own import measured_rows
from harness.measures.text_measures import TextMeasures, text_measures
from harness.models.embedded import EMBEDDED
from harness.models.encoder import encoder_of, resolve_encoder
from harness.store.artifacts import digest_json, read_json, write_json, write_parquet
from harness.store.tracking import Stage, StageResult
from harness.types import Prompt

MEASURES_REVISION = 3
OWN_REVISION = 1
REMARKS = "remarks.json"
WIDE = {"replies": (TEXT_MEASURES, "prompt_id"), "variant": (DIVERSITY, "cluster")}  # origin → table, its key


def measures_stage(session: Session, replies: Mapping[str, Replies], prompts: Sequence[Prompt]) -> StageResult:
    """The shipped measures. All variants at once: diversity is taken at a common number of n-grams."""
    generations = [g for reply in replies.values() for g in reply.generations]

    def work(stage: Stage, on_progress: OnProgress) -> None:
        write_parquet(stage.folder / TEXT_MEASURES, text_measures(generations, prompts), TextMeasures)
        write_parquet(stage.folder / DIVERSITY, film_diversity(generations), FilmDiversity)

    return session.stage(
        "metrics",
        label="Reply measures",
        revision=MEASURES_REVISION,
        config={},
        inputs={f"replies {name}": reply.stage.digest for name, reply in replies.items()},
        work=work,
    )


def own_stage(
    session: Session,
    measure: Measure,
    replies: Mapping[str, Replies],
    prompts: Sequence[Prompt],
    *,
    encoder: str | None = None,
) -> StageResult:
    """A function on every reply; its source is part of what decides the result, its name is not.

    A measure that takes all replies at once reads them with an encoder, `embedded` unless another is named.
    """
    base = None if measure.take is None else resolve_encoder(encoder or EMBEDDED)
    generations = [g for reply in replies.values() for g in reply.generations]
    if not functions.is_named(measure.code):
        session.say(f"  {measure.name}: {functions.UNNAMED}")

    def work(stage: Stage, on_progress: OnProgress) -> None:
        if measure.take is not None and base is not None:
            taken = measure.take(generations, prompts, encoder=encoder_of(base), on_progress=on_progress)
        else:
            taken = Taken(rows=tuple(measured_rows(measure, generations, prompts, on_progress=on_progress)))
        rows = taken.rows
        if taken.remarks:
            write_json(stage.folder / REMARKS, taken.remarks)
        write_parquet(stage.folder / MEASURED, rows, MeasuredReply)
        stage.log_metric("missing", sum(row.value is None for row in rows))
        failed = [row for row in rows if row.status == "failed" and row.reason]
        if failed:
            session.say(f"  {measure.name}: {len(failed):,} of {len(rows):,} rows failed, e.g. {failed[0].reason}")

    return session.stage(
        "measure",
        label=f"Measure ({measure.name})",
        revision=OWN_REVISION,
        config={"code": measure.code, "per": measure.origin, "is_rate": measure.is_rate},
        inputs={f"replies {name}": reply.stage.digest for name, reply in replies.items()}
        | {"prompts": digest_json(list(prompts))}
        | ({} if base is None else {"encoder": base.digest}),
        work=work,
    )


def remarks_of(stage: StageResult) -> dict[str, list[str]]:
    """What a measure says of variants beside their numbers."""
    file = stage.folder / REMARKS
    return dict(read_json(file)) if file.is_file() else {}


def shipped_arms(stage: StageResult, *, variants: Sequence[str], wanted: Sequence[str]) -> list[MeasuredArm]:
    """The shipped measures: a row per reply or, for diversity, a jackknife value per film."""
    arms = []
    for origin, (file, key) in WIDE.items():
        names = [name for name in wanted if CATALOGUE[name].origin == origin]
        arms += _arms(stage, file, {name: name for name in names}, variants, prompt=key)
    return sorted(arms, key=lambda arm: wanted.index(arm.measure))


def own_arms(stage: StageResult, measure: str, *, variants: Sequence[str], column: str) -> list[MeasuredArm]:
    """A function's measure: its `value`, or the `margin` beside it."""
    return _arms(stage, MEASURED, {measure: column}, variants)


def _arms(
    stage: StageResult, file: str, columns: Mapping[str, str], variants: Sequence[str], *, prompt: str = "prompt_id"
) -> list[MeasuredArm]:
    if not columns:
        return []
    held = read_columns(stage.folder / file, values=list(columns.values()), prompt=prompt)
    return [
        MeasuredArm(
            measure=name,
            variant=variant,
            rows=held.rows(column, variant=variant),
            sources=(source_of(stage, file, variant=variant),),
        )
        for name, column in columns.items()
        for variant in variants
    ]
