"""Tasks that are not film: right answers against references, the table before the work, and no film in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from stories import Ran, fresh_home, screentest

import screentest as st
from harness.task_kinds import TASKS, TaskName

pytestmark = pytest.mark.slow

FILM = re.compile(r"film|movie|scene|character|dialogue", re.IGNORECASE)
N = 40


class World:
    """Questions with answers, and two files of replies: one is right in three of four rows, the other in one."""

    def __init__(self, folder: Path) -> None:
        self.home = fresh_home(folder / "home")
        self.data, self.few, self.many = (folder / name for name in ("qa.jsonl", "few.jsonl", "many.jsonl"))
        rows = [
            {"id": f"q{i}", "prompt": f"Where does number {i} live?", "completion": f"Town {i}.", "gold": "town"}
            for i in range(N)
        ]
        write(self.data, rows)
        write(self.few, [{"prompt_id": f"q{i}", "text": f"town {i if i % 4 == 0 else 0}"} for i in range(N)])
        write(self.many, [{"prompt_id": f"q{i}", "text": f"the Town {i}" if i % 4 else ""} for i in range(N)])

    def compare(self, *more: object, data: Path | None = None, many: Path | None = None) -> Ran:
        return screentest("compare", self.few, many or self.many, "--data", data or self.data, *more, home=self.home)


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tasks"))


def test_recordings_get_a_verdict_on_right_answers_and_a_report_without_film(world: World) -> None:
    ran = world.compare("--json")
    (match,) = [e for e in ran.json["estimates"] if e["name"] == "exact_match" and "contrast" in e]
    assert match["in_family"]
    assert match["verdict"] == "better"
    assert (match["n"], match["n_missing"]) == (N, 0)  # an empty answer is a wrong one
    for line in ("task", "taken for `exact`", "say `--task`", "40 of 40 prompts are answered by id", "references"):
        assert line in ran.stderr
    assert "`gold` looks like a reference and was not taken" in ran.stderr
    html = Path(ran.json["report"])
    for report in (html, html.with_suffix(".md")):
        assert FILM.findall(report.read_text()) == []
    assert "questions" in html.read_text()


def test_a_dry_run_is_the_table_and_exits_with_2_where_something_lacks(world: World, tmp_path: Path) -> None:
    told = world.compare("--dry-run", "--json").json
    assert {"task", "prompts", "references", "stages"} <= {check["what"] for check in told["checks"]}
    strangers = write(tmp_path / "strangers.jsonl", [{"prompt_id": "x", "text": "?"}])
    lacking = world.compare("--dry-run", many=strangers)
    assert lacking.code == 2
    assert "none of its 1 ids is one" in lacking.stderr
    assert world.compare(many=strangers).code == 2
    unknown = world.compare("--task", "poetry")
    assert (unknown.code, "must be one of dialogue" in unknown.stderr) == (2, True)


def test_a_task_that_was_said_takes_the_place_of_the_guess(world: World) -> None:
    ran = world.compare("--task", "code-like", "--json")
    assert {e["name"] for e in ran.json["estimates"] if e.get("in_family")} == {"code_match", "edit_similarity"}
    assert "taken for" not in ran.stderr


ANSWERS = {
    "extraction": '{{"n": {0}}}', "classification": "label {1}", "code-like": "SELECT {0} FROM t", "exact": "{0} towns",
}  # fmt: skip


@pytest.mark.parametrize("task", [name for name in TASKS if name != "dialogue"])
def test_a_report_whose_judge_has_controls_of_the_task_speaks_of_that_task_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: TaskName
) -> None:
    asked: list[st.JudgedItem] = []
    criteria = ["relevance", "fluency", "consistency"]

    @st.judge(family="rules", criteria=criteria)
    def long_is_good(items: list[st.JudgedItem]) -> list[dict[str, float]]:
        asked.extend(items)
        return [{name: float(len(item.reply)) for name in criteria} for item in items]

    monkeypatch.setenv("SCREENTEST_HOME", str(world.home))
    answer = ANSWERS.get(task, "What is told of number {0} is told in one sentence of some words.")
    rows = [
        {"prompt": f"Tell me of number {i}.", "completion": answer.format(i, i % 2), "cluster": f"c{i % 15}"}
        for i in range(60)
    ]
    data, sides = write(tmp_path / "rows.jsonl", rows), (lambda prompt: "7 towns", lambda prompt: "label 1")
    found = st.compare(*sides, corpus=str(data), task=task, measures=[long_is_good], prompts=9)
    for name in ("report.html", "report.md"):
        text = found.report(tmp_path / name).read_text()
        assert FILM.findall(text) == []
        assert re.search("other.answer", text), name
    assert not [item for item in asked if FILM.search(item.reply)]
