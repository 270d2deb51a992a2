"""Judges in MLflow: as scorers of `mlflow.genai`, as tables on a run, and as feedback on traces; offline, on SQLite."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import ScriptedComparer, ScriptedJudge

from harness.errors import InputError
from harness.judging import load_criterion
from harness.judging.mlflow_rows import TABLE, log_table, log_traces
from harness.judging.mlflow_scorer import as_scorer, item_of
from harness.store.prompt_registry import log_prompt, log_prompts
from harness.store.stage_log import log_datasets
from harness.store.tracking import Tracking
from harness.types import JudgedItem, Message, Prompt

CRITERIA = (load_criterion("coherence"), load_criterion("fluency"))
JUDGE = ScriptedJudge(
    value=lambda item, criterion: None if item.reply == "..." else float(len(item.reply) + (criterion == "fluency")),
    criteria=CRITERIA,
    id="scripted@12345678",
)


@pytest.fixture
def tracking() -> Iterator[Tracking]:
    store = Tracking()  # in the test's own home
    with store.claimed_process():
        yield store


def items(n: int = 3) -> list[JudgedItem]:
    messages = (Message(role="user", content="Where is the boat?"),)
    replies = ["It sank.", "...", "Bees."]
    return [JudgedItem(id=f"i{i}", messages=messages, reply=replies[i % 3], cluster=f"film{i}") for i in range(n)]


def test_a_judge_is_a_scorer_of_mlflow_genai(tracking: Tracking) -> None:
    client = tracking.client
    import mlflow

    mlflow.set_experiment(experiment_id=tracking.experiment_id("scorers"))
    os.environ.pop("MLFLOW_EXPERIMENT_ID")  # left in the environment by the line above, for whatever runs next
    data = [
        {"inputs": {"messages": [{"role": "user", "content": "Where is the boat?"}]}, "outputs": "It sank."},
        {"inputs": {"prompt": "Where is the boat?"}, "outputs": "..."},
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        found = mlflow.genai.evaluate(data=data, scorers=[as_scorer(JUDGE)])
    assert found.metrics["coherence/mean"] == 8.0  # of the one reply that has a score
    traces = client.search_traces(locations=[tracking.experiment_id("scorers")])
    said = {(a.name, a.value, a.error.error_code if a.error else None) for t in traces for a in t.info.assessments}
    assert {("coherence", 8.0, None), ("fluency", 9.0, None)} < said
    assert ("coherence", None, "FAILED") in said
    sources = {(a.source.source_type, a.source.source_id) for t in traces for a in t.info.assessments}
    assert sources == {("LLM_JUDGE", "scripted@12345678")}


def test_a_pairwise_judge_scores_against_the_expected_reply() -> None:
    verdicts: dict[str, Any] = {"It sank.": "A", "tie": "tie", "mute": None}
    judge = ScriptedComparer(
        verdict=lambda a, b, c: verdicts[a] if a in verdicts else "B" if b == "It sank." else verdicts[b],
        criteria=CRITERIA[:1],
    )
    scorer = as_scorer(judge)
    inputs = {"prompt": "Where is the boat?"}
    said = [
        scorer(inputs=inputs, outputs=reply, expectations={"expected_response": "Bees."})[0]
        for reply in ("It sank.", "tie", "mute")
    ]
    assert [f.value for f in said] == [1.0, 0.5, None]
    assert said[2].error.error_code == "FAILED"
    with pytest.raises(InputError, match="must hold `expected_response` as text"):
        scorer(inputs=inputs, outputs="It sank.", expectations={})


def test_a_row_that_is_no_conversation_is_a_sentence() -> None:
    with pytest.raises(InputError, match="`inputs` must hold `messages` or a `prompt`"):
        item_of({"question": "x"}, "y")
    with pytest.raises(InputError, match="a role and a content each"):
        item_of({"messages": [{"role": "narrator", "content": "x"}]}, "y")
    with pytest.raises(InputError, match="`outputs` must be the reply as text, got list"):
        item_of({"prompt": "x"}, ["y"])
    with pytest.raises(InputError, match="`criteria` must be of coherence, fluency, got warmth"):
        as_scorer(JUDGE, criteria=["warmth"])


def run_of(tracking: Tracking) -> str:
    run: Any = tracking.client.create_run(tracking.experiment_id("rows"))
    return str(run.info.run_id)


def test_the_table_of_a_run_is_what_mlflow_reads(tracking: Tracking) -> None:
    run_id = run_of(tracking)
    scores = JUDGE.score(items())
    for _ in range(2):  # a second attempt replaces the first
        log_table(tracking.client, run_id, items(), scores, variants={f"i{i}": "new" for i in range(3)})
    frame = tracking.client.load_table(tracking.experiment_id("rows"), artifact_file=TABLE, run_ids=[run_id])
    assert len(frame) == 6
    assert list(frame["criterion"][:2]) == ["coherence", "fluency"]
    assert frame["value"][0] == 8.0
    assert frame["value"].isna().sum() == 2
    assert set(frame["status"]) == {"ok", "failed"}


def test_a_judges_prompt_has_a_version_for_each_text_and_a_link_from_the_run(tracking: Tracking) -> None:
    texts = ["Rate $reply.", "Rate $reply.", "Rate $reply.", "Rate $reply well.", "Rate $reply.", "Rate $reply well."]
    for text in texts:
        run_id = run_of(tracking)
        log_prompt(tracking.client, run_id, text, name="häuslich judge", judge_id="j@1")
    linked = json.loads(tracking.run(run_id).tags["mlflow.linkedPrompts"])
    assert linked == [{"name": "h-uslich-judge", "version": "2"}]
    assert tracking.client.load_prompt("prompts:/h-uslich-judge/1").template == texts[0]
    (listed,) = tracking.client.search_prompts(f"experiment_id = '{tracking.experiment_id('rows')}'")
    assert (listed.name, len(tracking.client.search_prompt_versions(listed.name))) == ("h-uslich-judge", 2)


def test_prompts_with_references_are_an_evaluation_dataset_once_which_evaluate_takes(tracking: Tracking) -> None:
    import mlflow

    experiment = tracking.experiment_id("rows")
    asked = [
        Prompt(id=f"p{n}", messages=(Message(role="user", content=f"Where {n}?"),), split="test", cluster="f",
               reference="It sank." if n else None)
        for n in range(3)
    ]  # fmt: skip
    for prompts in (asked, asked, asked[:2]):
        log_prompts(tracking.client, experiment, prompts, corpus="it's / mine.jsonl")
    found = tracking.client.search_datasets(experiment_ids=[experiment])
    assert sorted(len(dataset.to_df()) for dataset in found) == [2, 3]
    whole = next(dataset for dataset in found if "3 prompts" in dataset.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        said = mlflow.genai.evaluate(data=whole, scorers=[as_scorer(JUDGE)], predict_fn=lambda messages: "It sank.")
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    assert said.metrics["coherence/mean"] == 8.0


def test_of_what_an_analysis_reads_the_data_are_listed(tracking: Tracking) -> None:
    read = {"prepare:0": "a", "generate:1": "b", "generate:2": "c", "judge:3": "d", "variant": "e", "prompts": "f"}
    log_datasets(tracking.client, run_id := run_of(tracking), read, sources={"a": "r"})
    inputs = tracking.client.get_run(run_id).inputs.dataset_inputs
    assert sorted(one.dataset.name for one in inputs) == ["generate", "generate", "prepared", "prompts"]


def test_traces_carry_feedback_of_the_judge(tracking: Tracking) -> None:
    run_id = run_of(tracking)
    chosen, variants = items(12), {f"i{i}": "new" for i in range(12)}
    began = time.perf_counter()
    assert log_traces(tracking.client, run_id, chosen, JUDGE.score(chosen), variants=variants, most=500) == 12
    print(f"\n{(time.perf_counter() - began) / 12 * 1000:.1f} ms a trace with two feedbacks")
    traces = tracking.client.search_traces(locations=[tracking.experiment_id("rows")])
    assert len(traces) == 12
    one = next(t for t in traces if t.info.tags["item"] == "i0")
    assert {(a.name, a.value) for a in one.info.assessments} == {("coherence", 8.0), ("fluency", 9.0)}
    assert one.info.trace_metadata["mlflow.sourceRun"] == run_id
    missing = next(t for t in traces if t.info.tags["item"] == "i1")
    assert {a.error.error_code for a in missing.info.assessments} == {"FAILED"}
    assert log_traces(tracking.client, run_id, chosen, JUDGE.score(chosen), variants=variants, most=3) == 3
    again = tracking.client.search_traces(locations=[tracking.experiment_id("rows")])
    assert len(again) == 3  # those of the attempt before are gone
