"""Runs of other tools brought together: which row is which, what the clusters are, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stories import fresh_home, screentest

from harness.doors.peers.formats import read_peer
from harness.doors.peers.peer import PeerRow, PeerRun
from harness.errors import InputError
from harness.experiment.imports import read_files
from harness.experiment.matching import match

GOLDEN = Path(__file__).parents[1] / "golden" / "imports"


def row(key: str | None, question: str = "", draw: int = 0) -> PeerRow:
    return PeerRow(id=key, question=question, prompt=question, scores={"acc": 1.0}, draw=draw)


def run(*rows: PeerRow) -> PeerRun:
    return PeerRun(name="r", file=Path("f.json"), rows=rows)


def test_ids_match_where_they_stand_for_the_same_questions() -> None:
    found = match({"a": run(row("1", "x"), row("2", "y")), "b": run(row("2", "y"), row("3", "z"), row("1", "x"))})
    assert (found.by, found.n_shared, set(found.rows)) == ("id", 2, {"1", "2", "3"})
    assert found.notes == ("1 of 3 questions of b are not in all runs (`3`).",)
    assert set(found.shared().rows) == {"1", "2"}


def test_texts_match_where_ids_are_none_or_stand_for_other_questions() -> None:
    first, second = run(row("1", "x"), row("2", "y")), run(row("1", "y"), row("2", "x "))
    found = match({"a": first, "b": second})
    assert (found.by, found.n_shared) == ("text", 2)
    assert match({"a": run(row(None, "x")), "b": run(row("", "x"))}).by == "text"
    assert match({"a": first, "b": second}, by="id").by == "id"


def test_draws_of_a_question_stand_together() -> None:
    found = match({"a": run(row("1", "x"), row("1", "x", 1)), "b": run(row("1", "x"))})
    assert [len(rows) for rows in found.rows["1"].values()] == [2, 1]


@pytest.mark.parametrize(
    ("runs", "by", "said"),
    [
        ({"a": run(row("1", "x")), "b": run(row("2", "y"))}, "auto", "none in all 2"),
        ({"a": run(row("1", "x"), row("2", "y")), "b": run(row("1", "z"), row("2", "y"))}, "auto", "1 of 2 ids"),
        ({"a": run(row("1", "x"), row("1", "x")), "b": run(row("1", "x"))}, "auto", "twice"),
        ({"a": run(row("1", "x"), row("2", "x")), "b": run(row("1", "x"))}, "text", "twice"),
    ],
)
def test_what_cannot_be_matched_is_refused(runs: dict[str, Any], by: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        match(runs, by=by)


def test_names_tell_runs_apart_and_the_control_comes_first() -> None:
    files = [(None, GOLDEN / "deepeval/weak.json"), ("weak", GOLDEN / "deepeval/good.json")]
    found = read_files("deepeval", files, control="weak-good")
    assert list(found.runs) == ["weak-good", "weak-weak"]


def test_one_annotation_file_compares_the_model_with_its_reference_and_two_compare_the_models() -> None:
    files = [(None, GOLDEN / f"alpaca-eval/{name}/annotations.json") for name in ("weak", "good")]
    assert list(read_files("alpaca-eval", files).runs) == ["weak", "good"]
    found = read_files("alpaca-eval", files[:1])
    assert list(found.runs) == ["reference", "weak"]
    shares = [sum(r.scores["win_rate"] or 0 for r in run.rows) for run in found.runs.values()]
    assert sum(shares) == len(found.matched.rows)


def test_measures_are_claimed_on_once_and_only_where_a_direction_is_known() -> None:
    files = [(None, GOLDEN / f"mlflow/genai_{name}.json") for name in ("weak", "good")]
    found = read_files("mlflow", files)
    [(claimed, direction)] = found.better.items()  # `correct` is the same as `verdict`; a length has no better side
    assert (claimed in ("correct", "verdict"), direction) == (True, "higher")
    assert {"length", claimed} == set(found.measures)
    assert read_files("mlflow", files, lower=["length"]).better["length"] == "lower"
    with pytest.raises(InputError, match="must be one of"):
        read_files("mlflow", files, measures=["speed"])


def test_a_cluster_is_a_key_of_the_rows_and_an_unknown_one_is_refused() -> None:
    files = [(None, GOLDEN / f"inspect/{name}.eval") for name in ("weak", "good")]
    assert read_files("inspect", files).cluster is None
    assert read_files("inspect", files, cluster="kind").cluster == "kind"
    with pytest.raises(InputError, match="known: task, kind"):
        read_files("inspect", files, cluster="film")


def test_a_folder_of_models_folders_is_their_runs() -> None:
    found = read_files("lm-eval", [(None, GOLDEN / "lm-eval")], control="weak")
    assert list(found.runs) == ["weak", "good"]
    assert read_files("lm-eval", [("b", GOLDEN / "lm-eval/weak"), ("a", GOLDEN / "lm-eval/good")]).runs.keys() == {
        "a",
        "b",
    }


def test_one_run_is_not_enough() -> None:
    with pytest.raises(InputError, match="at least two runs, got weak"):
        read_files("deepeval", [(None, GOLDEN / "deepeval/weak.json")])
    with pytest.raises(InputError, match="`--control`"):
        read_files("promptfoo", [(None, GOLDEN / "promptfoo/out.json")], control="nobody")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_home(tmp_path_factory.mktemp("importing") / "home")


@pytest.mark.slow
def test_files_of_another_tool_become_a_paired_verdict_a_report_and_a_gate(home: Path) -> None:
    files = [GOLDEN / f"inspect/{name}.eval" for name in ("weak", "good")]
    done = screentest("import", "inspect", f"weak={files[0]}", f"good={files[1]}", "--gate", "--json", home=home)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    [claim] = [e for e in found["estimates"] if e.get("contrast") and e["name"] == "match"]
    runs = [read_peer("inspect", file)[0] for file in files]
    weak, good = (sum(r.scores["match"] or 0 for r in run.rows) / len(run.rows) for run in runs)
    assert claim["value"] == pytest.approx(good - weak)
    assert claim["low"] < claim["value"] < claim["high"]
    assert claim["n_clusters"] == 12
    assert found["imported"]["runs"]["weak"]["figures"][0]["error"] > 0
    page = Path(found["report"]).read_text()
    assert "weak.eval of inspect_ai" in page
    assert "made elsewhere" in page
    worse = screentest("import", "inspect", f"b={files[1]}", f"a={files[0]}", "--gate", home=home)
    assert worse.code == (3 if claim["verdict"] == "better" else 0)


@pytest.mark.slow
def test_scores_without_replies_are_compared_and_what_a_run_lacks_is_missing(home: Path, tmp_path: Path) -> None:
    for name, shift in (("base", 0), ("tuned", 1)):
        rows = [
            {
                "doc_id": i, "doc": {"q": f"q{i}"}, "target": 0, "arguments": [["q", "a"]], "resps": [[[-1.0, True]]],
                "filtered_resps": [[-1.0, True]], "filter": "none", "metrics": ["acc", "exact_match"],
                "acc": float((i + shift) % 3 > 0), "exact_match": float("nan") if i == 5 else 0.5,
            }
            for i in range(40 - shift)
        ]  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples_t_2026-01-01T00-00-00.0.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = screentest("import", "lm-eval", tmp_path / "base", tmp_path / "tuned", "--json", home=home)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    by_name = {e["name"]: e for e in found["estimates"] if e.get("contrast")}
    assert set(by_name) == {"acc", "exact_match"}, "nothing is said of replies that are not there"
    assert (by_name["acc"]["n"], by_name["acc"]["n_missing"]) == (39, 1)
    assert (by_name["exact_match"]["n"], by_name["exact_match"]["n_missing"]) == (38, 2)
    assert "scores alone, from base" in Path(found["report"]).read_text()
    shared = screentest("import", "lm-eval", tmp_path / "base", tmp_path / "tuned", "--shared", "--json", home=home)
    [acc] = [e for e in json.loads(shared.stdout)["estimates"] if e.get("contrast") and e["name"] == "acc"]
    assert (acc["n"], acc["n_missing"]) == (39, 0)


def test_what_cannot_be_compared_is_one_sentence_and_nothing_is_stored(tmp_path: Path) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes((GOLDEN / "deepeval/weak.json").read_bytes()[:500])
    home = tmp_path / "home"
    done = screentest("import", "deepeval", file, GOLDEN / "deepeval/good.json", home=home)
    assert (done.code, "ends in the middle" in done.stderr) == (2, True)
    assert not home.exists()
