"""A judge's scores where MLflow's pages show them: a table of rows on the run, and feedback on traces.

The table is one artifact and is always written. A trace per reply costs a tenth of a second each on SQLite
(docs/judge-bridges.md has the figure), so traces are written only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.judging.mlflow_scorer import feedback
from harness.types import JudgedItem, Score

TABLE = "judge_scores.json"


def score_table(
    items: Sequence[JudgedItem], scores: Sequence[Score], *, variants: Mapping[str, str]
) -> dict[str, list[Any]]:
    """Columns of one row per score: whose reply to what, and what the judge made of it; `variants` by item."""
    by_id = {item.id: item for item in items}
    rows = [(by_id[score.item_id], score) for score in scores]
    return {
        "variant": [variants[item.id] for item, _ in rows],
        "conversation": ["\n".join(f"{m.role}: {m.content}" for m in item.messages) for item, _ in rows],
        "reply": [item.reply for item, _ in rows],
        "criterion": [score.criterion for _, score in rows],
        "value": [score.value for _, score in rows],
        "status": [score.status for _, score in rows],
        "mass": [score.mass for _, score in rows],
        "reason": [score.reason for _, score in rows],
        "cluster": [item.cluster for item, _ in rows],
        "judge_id": [score.judge_id for _, score in rows],
    }


def log_table(client: Any, run_id: str, table: Mapping[str, Sequence[Any]], *, file: str = TABLE) -> None:
    """Write a table to a run, where the pages of MLflow list it; a table of an earlier attempt is replaced."""
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    # `client.log_table` appends to what an attempt before a kill has written; the run's tag is what the pages look for.
    client.log_dict(run_id, {"columns": list(table), "data": rows}, file)
    client.set_tag(run_id, "mlflow.loggedArtifacts", f'[{{"path": "{file}", "type": "table"}}]')


def log_traces(
    client: Any,
    run_id: str,
    items: Sequence[JudgedItem],
    scores: Sequence[Score],
    *,
    variants: Mapping[str, str],
) -> int:
    """A trace per reply with a feedback per criterion, source LLM_JUDGE; gives the number of traces."""
    import mlflow

    experiment = client.get_run(run_id).info.experiment_id
    traces = {}
    for item in items:
        span = mlflow.start_span_no_context(
            "reply",
            inputs={"messages": [{"role": m.role, "content": m.content} for m in item.messages]},
            tags={"item": item.id, "variant": variants[item.id], "cluster": item.cluster},
            metadata={"mlflow.sourceRun": run_id},
            experiment_id=experiment,
        )
        span.set_outputs(item.reply)
        span.end()
        traces[item.id] = span.trace_id
    mlflow.flush_trace_async_logging()
    for score in scores:
        mlflow.log_assessment(traces[score.item_id], feedback(score))
    return len(traces)
