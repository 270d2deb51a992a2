"""A judge's scores where MLflow's pages show them: a table of rows on the run, and feedback on traces.

The table is one artifact and has every row. A trace a reply costs hundredths of a second on SQLite
(docs/judge-bridges.md has the figure), so of many replies `SCREENTEST_TRACES` (500) are drawn.
MLflow writes both to its process-wide store, which must be the client's meanwhile (`Tracking.claimed_process`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.judging.mlflow_scorer import feedback
from harness.store.artifacts import digest_json
from harness.types import JudgedItem, Score

TABLE = "judge_scores.json"
COLUMNS = (
    "variant", "conversation", "reply", "criterion", "value", "status", "mass", "reason", "cluster", "judge_id",
)  # fmt: skip


def log_table(
    client: Any, run_id: str, items: Sequence[JudgedItem], scores: Sequence[Score], *, variants: Mapping[str, str]
) -> None:
    """Write a row per score to a run, where the pages of MLflow list it: whose reply (`variants` by item) to what, and
    what the judge made of it. A table of an earlier attempt is replaced.
    """
    by_id = {item.id: item for item in items}
    rows = [
        [variants[item.id], "\n".join(f"{m.role}: {m.content}" for m in item.messages), item.reply,
         s.criterion, s.value, s.status, s.mass, s.reason, item.cluster, s.judge_id]
        for item, s in ((by_id[score.item_id], score) for score in scores)
    ]  # fmt: skip
    # `client.log_table` appends to what an attempt before a kill has written; the run's tag is what the pages look for.
    client.log_dict(run_id, {"columns": list(COLUMNS), "data": rows}, TABLE)
    client.set_tag(run_id, "mlflow.loggedArtifacts", f'[{{"path": "{TABLE}", "type": "table"}}]')


def log_traces(
    client: Any,
    run_id: str,
    items: Sequence[JudgedItem],
    scores: Sequence[Score],
    *,
    variants: Mapping[str, str],
    most: int,
) -> int:
    """A trace a reply with a feedback a criterion, source LLM_JUDGE; gives the number of traces.

    Above `most`, replies are drawn, the same ones each time. What an attempt before a kill has written is replaced.
    """
    import mlflow
    from mlflow.entities.trace_location import MlflowExperimentLocation

    if most <= 0:
        return 0
    experiment = client.get_run(run_id).info.experiment_id
    _forget_traces(client, run_id, experiment)
    drawn = sorted(items, key=lambda item: digest_json(item.id))[:most]
    of_item: dict[str, list[Score]] = {}
    for score in scores:
        of_item.setdefault(score.item_id, []).append(score)
    for item in drawn:
        with mlflow.start_span("reply", trace_destination=MlflowExperimentLocation(experiment)) as span:
            span.set_inputs({"messages": [{"role": m.role, "content": m.content} for m in item.messages]})
            span.set_outputs(item.reply)
            tags = {"item": item.id, "variant": variants[item.id], "cluster": item.cluster}
            mlflow.update_current_trace(tags=tags, metadata={"mlflow.sourceRun": run_id})
            for score in of_item.get(item.id, ()):  # while the trace is open they are written with it
                mlflow.log_assessment(span.trace_id, feedback(score))
    mlflow.flush_trace_async_logging()
    return len(drawn)


def _forget_traces(client: Any, run_id: str, experiment: str) -> None:
    of_run = f"metadata.`mlflow.sourceRun` = '{run_id}'"
    while page := client.search_traces(locations=[experiment], filter_string=of_run, include_spans=False):
        client.delete_traces(experiment, trace_ids=[trace.info.trace_id for trace in page])
