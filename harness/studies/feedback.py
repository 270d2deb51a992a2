"""Ratings in MLflow: the rows as a stage of their own, and every rating as feedback with source HUMAN on a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from harness.errors import InputError, StageError
from harness.experiment.session import OnProgress, Session
from harness.store.artifacts import digest_json, write_jsonl
from harness.store.tracking import Stage, StageResult
from harness.studies.exports import RatingRow, rating_rows
from harness.studies.rating_rows import RatedSlot, read_rows
from harness.studies.studies import Study

REVISION = 1
RATINGS = "ratings.jsonl"
STUDY_TAG, ITEM_TAG = "screentest.study", "screentest.item"
PREFERENCE = "preference"


def ratings_stage(session: Session, engine: Engine, study: Study) -> StageResult:
    """The ratings of a closed study as a run: the file that numbers point back to, and feedback on its traces.

    Raises:
        InputError: the study is open: raters could read there what others said.
        SplitError: the prompts are of TRAIN.
    """
    if study.is_open:
        raise InputError(f"`{study.name}` must be closed before its ratings go to MLflow; run `screentest study close`")
    rows = rating_rows(engine, study)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        write_jsonl(stage.folder / RATINGS, rows)
        stage.set_tag("study", study.name)
        stage.log_metric("ratings", len(rows))
        with session.tracking.claimed_process():
            log_feedback(session, engine, study, rows, run_id=stage.run_id)

    return session.stage(
        "ratings",
        label=f"Ratings ({study.name})",
        revision=REVISION,
        config={"study": study.name, "declaration": study.declaration},
        inputs={"ratings": digest_json(rows)},
        work=work,
    )


def log_feedback(session: Session, engine: Engine, study: Study, rows: Sequence[RatingRow], *, run_id: str) -> None:
    """One trace an item, one feedback a vote or mark; what an earlier attempt logged is left as it is."""
    import mlflow
    from mlflow.entities import AssessmentSource

    client = session.tracking.client
    experiment_id = client.get_run(run_id).info.experiment_id
    traces, logged = _standing(client, experiment_id, study)
    shown = {r.slot: r for r in read_rows(engine, study)}
    given = [row for row in rows if row.verdict is not None or row.marks]
    for slot in (shown[row.slot] for row in given):
        if str(slot.item_id) not in traces:
            traces[str(slot.item_id)] = _trace(client, experiment_id, study, slot)
    mlflow.flush_trace_async_logging()  # feedback is refused on a trace that is still on its way
    for row in given:
        values: dict[str, Any] = dict(row.marks) or {PREFERENCE: row.winner}
        for name, value in values.items():
            if (row.slot, name) not in logged:
                mlflow.log_feedback(
                    trace_id=traces[str(shown[row.slot].item_id)],
                    name=name,
                    value=value,
                    source=AssessmentSource(source_type="HUMAN", source_id=row.rater),
                    metadata=_metadata(row),
                )


def _metadata(row: RatingRow) -> dict[str, str]:
    return {
        "slot": row.slot,
        "kind": row.kind,
        "left": row.left,
        "is_rehearsal": str(row.is_rehearsal).lower(),
        "is_excluded": str(row.is_excluded).lower(),
    }


def _trace(client: Any, experiment_id: str, study: Study, slot: RatedSlot) -> str:
    """A trace that holds what was rated."""
    from mlflow.entities.span import NO_OP_SPAN_TRACE_ID

    span = client.start_trace(
        "rated replies",
        inputs={"messages": [{"role": m.role, "content": m.content} for m in slot.messages]},
        tags={STUDY_TAG: study.name, ITEM_TAG: str(slot.item_id), "prompt_id": slot.prompt_id},
        experiment_id=experiment_id,
    )
    if span.trace_id == NO_OP_SPAN_TRACE_ID:  # MLflow logs why, and goes on as if it had traced
        raise StageError("MLflow took no trace, so no feedback can hang on it; is tracing disabled in this process?")
    client.end_trace(span.trace_id, outputs={reply.variant: reply.text for reply in slot.replies})
    return str(span.trace_id)


def _standing(client: Any, experiment_id: str, study: Study) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """Traces and feedback that are there from an attempt before."""
    traces: dict[str, str] = {}
    logged: set[tuple[str, str]] = set()
    token = None
    while True:
        page = client.search_traces(
            locations=[experiment_id], filter_string=f"tags.`{STUDY_TAG}` = '{study.name}'", page_token=token
        )
        for trace in page:
            traces[trace.info.tags[ITEM_TAG]] = trace.info.trace_id
            logged |= {(a.metadata["slot"], a.name) for a in trace.info.assessments if a.metadata}
        token = page.token
        if not token:
            return traces, logged
