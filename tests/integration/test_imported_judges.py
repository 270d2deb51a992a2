"""People's ratings and a judge's samples, both made elsewhere, from the command line to the stand-in test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stories import fresh_home, screentest

RATERS, ITEMS = ("ann", "ben", "cat", "dan"), 48


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_home(tmp_path_factory.mktemp("ratings") / "mlruns")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(3).integers(1, 6, size=ITEMS)


def lines(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_judge_is_held_against_people_who_rated_other_items(home: Path, tmp_path: Path, truth: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    people = [
        {"item": f"p{i}", "rater": rater, "criterion": "coherence", "scale": "1-5", "cluster": f"f{i // 4}",
         "value": int(np.clip(truth[i] + rng.integers(-1, 2), 1, 5))}
        for i in range(ITEMS) for j, rater in enumerate(RATERS) if rater != "dan" or i < 20
    ]  # fmt: skip
    made = screentest("ratings", "import", lines(tmp_path / "marks.jsonl", people), "--json", home=home).json
    assert (made["study"], made["kind"], made["ratings"]) == ("marks", "likert", len(people))
    samples: list[dict[str, Any]] = [
        {"item": f"p{i}", "criterion": "coherence", "value": [f"Because it is so.\nScore: {truth[i]}", "A 3, I'd say"]}
        for i in range(ITEMS)
    ]
    samples += [{"item": "p999", "criterion": "coherence", "value": ["Score: 3"]}]
    file = lines(tmp_path / "judge.jsonl", samples)
    how = ("--judge", "their-judge", "--scale", "1-5", "--form", "explain", "--study", "marks")
    judge = screentest("judge", "import", file, *how, "--json", home=home).json
    assert (judge["rows"], judge["unknown"], judge["samples"], judge["unread"]) == (ITEMS, 1, 2 * ITEMS, ITEMS)
    found = screentest("judge", "validate", "marks", "--scores", judge["run_id"], "--json", home=home).json
    (criterion,) = found["criteria"]
    assert criterion["judge_id"] == "their-judge"
    held = criterion["marks"]
    assert held["linear"]["value"] > 0.8
    assert held["within"]["n"] == ITEMS // 4
    test = held["annotators"]
    assert test["winning_share"] == 1
    assert test["left_out"] == ["dan"]  # shares 20 items with others, and 30 are needed
    shown = screentest("judge", "validate", "marks", "--scores", judge["run_id"], home=home).stdout
    assert "may stand in for a rater" in shown
    assert "Pearson" in shown


def test_a_judges_bad_row_is_named_by_file_and_line(home: Path, tmp_path: Path) -> None:
    row = {"item": "p1", "criterion": "coherence", "value": 2}
    for bad, reason in (
        ({**row, "item": None}, "`item`"),
        ({**row, "value": "good"}, "must be a number"),
        ({**row, "value": 9}, "scale 1-5"),
        (row, "scored once"),
    ):
        file = lines(tmp_path / "judge.jsonl", [row, bad])
        ran = screentest("judge", "import", file, "--judge", "x", "--scale", "1-5", home=home)
        assert ran.code == 2
        assert "line 2" in ran.stderr
        assert reason in ran.stderr
