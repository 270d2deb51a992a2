"""A study from files to a sentence with its interval, through the commands; then the judge against the same people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny_adapter
from integration.study_world import World, judged_run, mark_all
from panels import Clock, favouring, rate_all
from sqlalchemy import Engine
from stories import screentest

from harness.models.bases import resolve_base
from harness.studies.serving import RatingTask, next_task
from harness.studies.studies import find_study


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("study"))


@pytest.fixture
def store(world: World) -> Iterator[Engine]:
    engine = world.engine()
    yield engine
    engine.dispose()


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow's own, when tracing first starts
@pytest.mark.filterwarnings("ignore:You should use InstrumentationScope")  # and OpenTelemetry's
def test_from_generations_to_a_sentence(world: World, store: Engine, tmp_path: Path) -> None:
    made = world.run("study", "create", world.study("story"), "--url", "https://rate.example", "--json").json
    assert made["plan"] == "20 prompts, 3 raters each."
    assert [link["rater"] for link in made["links"]] == ["rater-1", "rater-2", "rater-3"]
    tokens = [link["url"].removeprefix("https://rate.example/?rater=") for link in made["links"]]
    trial = world.run("study", "link", "story", "me", "--rehearsal", "--json").json
    clock = Clock(step=3.0)
    assert rate_all(store, trial["url"].partition("=")[2], favouring("base"), clock=clock) == 2 + 20 + 2 + 2
    for token in tokens:
        assert rate_all(store, token, favouring("sft"), clock=clock) == 2 + 20 + 2 + 2
    shown = world.run("study", "status", "story")
    assert "The average vote for sft is 100" in shown.stdout
    assert "It is decided for these raters" in shown.stdout
    assert "60 ratings count; 0 are waited for, 0 were skipped, 26 were given in rehearsal" in shown.stdout
    found = world.run("study", "status", "story", "--json").json
    (pair,) = found["pairs"]
    estimate = pair["look"]["estimate"]
    assert (estimate["value"], estimate["n"], estimate["high"]) == (1.0, 20, 1.0)
    assert 0.5 < estimate["low"] < 1
    assert found["n_rehearsal"] > 0

    refused = world.run("study", "export", "story", "--format", "mlflow")
    assert (refused.code, "must be closed" in refused.stderr) == (2, True)
    world.run("study", "close", "story")
    late = next_task_refused(store, tokens[0])
    assert "closed" in late
    rows = world.run("study", "export", "story", "--format", "votes", "--out", tmp_path / "v.csv", "--json").json
    assert rows["rows"] == 60
    refused = world.run("study", "export", "story", "--format", "preferences", "--out", tmp_path / "p.jsonl")
    assert (refused.code, "never train" in refused.stderr) == (2, True)

    first = world.run("study", "export", "story", "--format", "mlflow", "--json").json
    again = world.run("study", "export", "story", "--format", "mlflow", "--json").json
    assert (first["reused"], again["reused"]) == (False, True)
    check_feedback(world, n_items=20 + 2, n_feedback=4 * (20 + 2 + 2))


def next_task_refused(engine: Engine, token: str) -> str:
    from harness.studies.refusals import StudyClosedError

    with pytest.raises(StudyClosedError) as caught:
        next_task(engine, token)
    return str(caught.value)


def check_feedback(world: World, *, n_items: int, n_feedback: int) -> None:
    client = world.session().tracking.client
    experiment = client.get_experiment_by_name("screentest").experiment_id
    traces = client.search_traces(locations=[experiment], filter_string="tags.`screentest.study` = 'story'")
    assert len(traces) == n_items
    given = [a for trace in traces for a in trace.info.assessments]
    assert len(given) == n_feedback
    assert {a.source.source_type for a in given} == {"HUMAN"}
    assert {a.source.source_id for a in given} == {"rater-1", "rater-2", "rater-3", "me"}
    assert {a.metadata["is_rehearsal"] for a in given if a.source.source_id == "me"} == {"true"}
    main = [a for a in given if a.metadata["kind"] == "main" and a.source.source_id != "me"]
    assert {a.value for a in main} == {"sft"}


def test_a_target_in_win_share_gives_the_number_of_prompts(world: World) -> None:
    made = world.run("study", "create", world.study("power", target={"win_share": 0.8, "icc": 0.5}), "--json").json
    # Independent votes: ((1.96 / 2 + 0.842 · √(0.8 · 0.2)) / 0.3)² = 19.3; three that share a prompt with ICC ½ count
    # for 1.5, so 38.5 votes: 13 prompts of three.
    assert made["plan"] == "13 prompts, 3 raters each: 39 votes show a true win share of 80% with power 81%."
    small = world.run("study", "create", world.study("small", target={"win_share": 0.55}, attention=0), "--json").json
    assert small["plan"].startswith("60 prompts, 3 raters each")
    assert "Power 80% would take" in small["plan"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"prompts": 61}, "attention": 0}, "at most the 60 answered prompts, got 61"),
        ({"target": {"prompts": 60}}, "`attention` asks for 2 checks, and 0 prompts"),
        ({"variants": ["sft", "dpo"]}, "`variants` must be of base, sft, got 'dpo'"),
        ({"criteria": ["fluency"]}, "`criteria` are named for kind likert"),
        ({"kind": "likert", "criteria": ["charm"]}, "got 'charm'"),
        ({"panel": {"raters": 2, "overlap": 3}}, "`overlap` must be at most the 2 raters"),
        ({"target": {}}, "exactly one of `prompts` and `win_share`"),
        ({"source": {"run": "nothing"}}, "must be the id of a run"),
        ({"colour": "red"}, "not a key"),
    ],
)
def test_a_study_that_cannot_be_made_says_why(world: World, changes: dict[str, Any], words: str) -> None:
    ran = world.run("study", "create", world.study("bad", **changes))
    assert (ran.code, words in ran.stderr) == (2, True), ran.stderr


def test_a_name_is_taken_once(world: World) -> None:
    file = world.study("twice")
    told = world.run("study", "create", file, "--dry-run")
    assert (told.code, "screens in all" in " ".join(told.stdout.split())) == (0, True)
    assert world.run("study", "create", file).code == 0
    assert world.run("study", "create", file, "--dry-run").code == 2
    ran = world.run("study", "create", file)
    assert (ran.code, "a study already" in ran.stderr) == (2, True)
    assert world.run("study", "create", file, "--name", "thrice").code == 0


def test_prompts_are_added_to_an_open_study_and_a_closed_one_is_published(world: World, tmp_path: Path) -> None:
    file = world.study("grown", attention=0)
    world.create("grown", attention=0)
    assert (
        "5 prompts were added after 0 ratings" in world.run("study", "add", file, "--prompts", 5, "--json").json["plan"]
    )
    for changes, n, words in (({}, 36, "at most the 35 that are left"), ({"level": 0.9}, 5, "got another")):
        refused = world.run("study", "add", world.study("grown", attention=0, **changes), "--prompts", n)
        assert (refused.code, words in refused.stderr) == (2, True), refused.stderr
    assert world.run("study", "close", "grown").code == 0
    assert "must be open" in world.run("study", "add", world.study("grown", attention=0), "--prompts", 1).stderr
    told = world.run("study", "export", "grown", "--format", "publication", "--out", tmp_path / "paper", "--json").json
    assert told["rows"] == 0
    assert {f.name for f in (tmp_path / "paper").iterdir()} == {"methods.md", "ratings.csv", "declaration.json"}
    assert "5 prompts were added" in (tmp_path / "paper" / "methods.md").read_text()
    refused = world.run(
        "study", "export", "grown", "--format", "publication", "--out", tmp_path / "paper" / "methods.md"
    )
    assert (refused.code, "must name a folder" in refused.stderr) == (2, True)


def test_links_are_renewed_and_revoked(world: World, store: Engine) -> None:
    old, *_ = world.create("links", attention=0)
    new = world.run("study", "link", "links", "rater-1", "--json").json["url"].partition("=")[2]
    assert new != old
    assert isinstance(next_task(store, new), RatingTask)
    assert world.run("study", "revoke", "links", "rater-1").code == 0
    assert "rater-1 (revoked)" in world.run("study", "status", "links").stdout
    assert world.run("study", "status").stdout.count("TEST") >= 1
    assert world.run("study", "link", "links", "nobody").code == 2


def test_a_backup_is_a_store(world: World, tmp_path: Path) -> None:
    world.create("saved", attention=0)
    copy = tmp_path / "copy.db"
    assert world.run("study", "backup", copy, "--json").json["bytes"] == copy.stat().st_size
    ran = screentest("study", "status", "--json", home=tmp_path, env={"SCREENTEST_DATABASE_URL": f"sqlite:///{copy}"})
    assert "saved" in {s["name"] for s in ran.json["studies"]}


def test_an_audit_of_pairs(world: World, store: Engine) -> None:
    pairs = [
        {
            "prompt": [{"role": "system", "content": "Speak."}, {"role": "user", "content": f"Where to, {i}?"}],
            "chosen": [{"role": "assistant", "content": f"the long way round to {i}"}],
            "rejected": [{"role": "assistant", "content": f"{i}"}],
            "prompt_id": f"t{i}", "cluster": f"film-{i % 5}", "split": "train",
            "reference": f"over the hill to the town and on to {i}",
        }
        for i in range(15)
    ]  # fmt: skip
    world.write("pairs.jsonl", pairs)
    tokens = world.create("audit", kind="audit", source={"pairs": "pairs.jsonl"}, variants=[], target={"prompts": 10})
    clock = Clock(step=3.0)
    for token in tokens:
        rate_all(store, token, favouring("chosen"), clock=clock)
    found = world.run("study", "status", "audit", "--json").json
    assert found["split"] == "train"
    (pair,) = found["pairs"]
    assert (pair["variant"], pair["opponent"], pair["look"]["estimate"]["value"]) == ("chosen", "rejected", 1.0)
    world.write("pairs.jsonl", [{**pairs[0], "split": "test"}])
    ran = world.run("study", "create", world.study("leak", kind="audit", source={"pairs": "pairs.jsonl"}, variants=[]))
    assert (ran.code, "must be of the train split" in ran.stderr) == (2, True)


# ── judge against people ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_judge_is_held_against_marks(world: World, store: Engine) -> None:
    tokens = world.create(
        "marked", kind="likert", criteria=["fluency", "relevance"], target={"prompts": 25}, repeats=0.0
    )
    run = judged_run(world, bias=0.5)
    early = world.run("judge", "validate", "marked", "--scores", run)
    assert (early.code, "that count" in early.stderr) == (2, True)
    mark_all(store, tokens)
    found = world.run("judge", "validate", "marked", "--scores", run, "--json").json
    fluency, relevance = found["criteria"]
    assert (fluency["criterion"], relevance["criterion"]) == ("fluency", "relevance")
    marks = fluency["marks"]
    assert marks["why_not"] == []
    assert marks["correlation"]["low"] > 0.3
    bias = marks["bias"]["bias"]
    assert bias["low"] < 0.5 < bias["high"] or bias["value"] == pytest.approx(0.5, abs=0.2)
    assert marks["annotators"]["epsilon"] == 0.15
    assert len(marks["annotators"]["tests"]) == 3
    (contrast,) = fluency["contrasts"]
    assert (contrast["variant"], contrast["opponent"], contrast["n_unscored"]) == ("sft", "base", 0)
    powered = contrast["powered"]["test"]["estimate"]
    assert powered["n"] == 60  # all prompts speak, 25 of them through people
    assert powered["low"] < 1.0 < powered["high"]
    assert contrast["powered"]["human_only"]["n"] == 25
    assert "Judge with people" in world.run("judge", "validate", "marked", "--scores", run).stdout


def test_scores_that_are_no_marks_are_compared_by_rank_alone(world: World, store: Engine) -> None:
    tokens = world.create("ranks", kind="likert", criteria=["fluency"], target={"prompts": 12}, repeats=0.0)
    mark_all(store, tokens)
    run = judged_run(world, mode="likelihood")
    (found,) = world.run("judge", "validate", "ranks", "--scores", run, "--json").json["criteria"]
    assert found["marks"]["correlation"] is not None
    assert (found["marks"]["kappa"], found["marks"]["bias"], found["marks"]["annotators"]) == (None, None, None)
    assert "scale that people mark on" in found["marks"]["why_not"][-1]


def test_a_judge_is_held_against_votes(world: World, store: Engine) -> None:
    tokens = world.create("voted", target={"prompts": 30}, attention=0)
    clock = Clock(step=3.0)
    for token in tokens:
        rate_all(store, token, favouring("sft"), clock=clock)
    run = judged_run(world, noise=0.8)
    found = world.run("judge", "validate", "voted", "--scores", run, "--json").json
    for criterion in found["criteria"]:
        (contrast,) = criterion["contrasts"]
        assert contrast["concordance"]["n"] == 30
        assert 0.5 < contrast["concordance"]["value"] <= 1
        assert contrast["powered"]["human_only"]["value"] == pytest.approx(1.0)
        assert contrast["powered"]["judge_only"]["n"] == 60


def test_scores_of_other_replies_are_refused(world: World, store: Engine) -> None:
    tokens = world.create("other", target={"prompts": 5}, attention=0)
    rate_all(store, tokens[0], favouring("sft"), clock=Clock(step=3.0))
    run = judged_run(world)
    ran = world.run("judge", "validate", "other", "--scores", f"dpo={run}")
    assert (ran.code, "the replies that were rated" in ran.stderr) == (2, True)
    assert find_study(store, "other").is_open


def test_a_study_of_a_finished_evaluation(world: World, store: Engine) -> None:
    """`source: {run: latest}`: the generations of the evaluation's own runs, under its own variants' names."""
    folder = world.folder / "adapter"
    tiny_adapter(folder, resolve_base(str(world.base)))
    compared = world.run(
        "compare", world.base, folder, "--data", world.folder / "test.jsonl", "--prompts", 20, "--max-new-tokens", 6,
        "--json",
    ).json  # fmt: skip
    changes = {"source": {"run": "latest"}, "variants": ["adapter", "base"], "target": {"prompts": 12}, "attention": 1}
    tokens = world.create("evaluated", **changes)
    study = find_study(store, "evaluated")
    generated = {s["run_id"] for s in compared["stages"] if s["name"] == "generate"}
    assert set(study.lineage["generations"]) == generated
    assert len(study.lineage["population"]) + study.lineage["left_out"] == 20
    task = next_task(store, tokens[0])
    assert isinstance(task, RatingTask)
    rate_all(store, tokens[0], favouring("adapter"), clock=Clock(step=3.0))
    (pair,) = world.run("study", "status", "evaluated", "--json").json["pairs"]
    assert (pair["variant"], pair["opponent"], pair["win"]["decisive"]["value"]) == ("adapter", "base", 1.0)
    # The same figures are the same look at TEST; another rater's votes are new ones.
    looks = [world.run("study", "status", "evaluated", "--json").json["n_test_looks"] for _ in range(2)]
    assert looks[0] == looks[1] >= 2  # the report was one too
    rate_all(store, tokens[1], favouring("adapter"), clock=Clock(step=3.0))
    assert f"looked at {looks[0] + 1} times" in world.run("study", "status", "evaluated").stderr
