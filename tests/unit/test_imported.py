from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stories import Ran, fresh_home, screentest

from harness.errors import InputError
from harness.experiment.imported_scores import ImportedScore, read_imported

GOOD = {"prompt_id": "p1", "variant": "base", "value": 0.5}


def written(file: Path, *rows: object) -> Path:
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def test_rows_are_read_with_what_they_leave_out(tmp_path: Path) -> None:
    file = written(
        tmp_path / "s.jsonl",
        GOOD,
        "",
        {**GOOD, "value": None, "draw": 1, "cluster": "m1"},
        {**GOOD, "variant": "sft", "value": 2},
    )
    first, second, third = read_imported(file)
    assert first == ImportedScore(prompt_id="p1", variant="base", value=0.5, draw=0, cluster=None)
    assert second == ImportedScore(prompt_id="p1", variant="base", value=None, draw=1, cluster="m1")
    assert (third.value, type(third.value)) == (2.0, float)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{not json", "Expecting"),
        ("17", "got int"),
        ("[1]", "got list"),
        ({"prompt_id": "p1", "variant": "a"}, "no ['value']"),
        ({**GOOD, "score": 1}, "unknown ['score']"),
        ({**GOOD, "value": "0.5"}, "`value`"),
        ({**GOOD, "value": True}, "`value`"),
        ('{"prompt_id": "p1", "variant": "a", "value": NaN}', "finite"),
        ('{"prompt_id": "p1", "variant": "a", "value": 1e999}', "finite"),
        ({**GOOD, "draw": -1}, "`draw`"),
        ({**GOOD, "draw": 0.5}, "`draw`"),
        ({**GOOD, "draw": True}, "`draw`"),
        ({**GOOD, "prompt_id": ""}, "`prompt_id`"),
        ({**GOOD, "prompt_id": 7.0}, "`prompt_id`"),
        ({**GOOD, "variant": None}, "`variant`"),
        ({**GOOD, "cluster": True}, "`cluster`"),
        (GOOD, "line 1"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    file = written(tmp_path / "scores.jsonl", GOOD, row)
    with pytest.raises(InputError) as caught:
        read_imported(file)
    assert str(caught.value).startswith(f"`{file}` line 2: ")
    assert reason in str(caught.value)


def test_a_file_that_is_empty_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one row"):
        read_imported(written(tmp_path / "empty.jsonl", ""))
    with pytest.raises(InputError, match="there is none"):
        read_imported(tmp_path / "nothing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt_id": "caf\xe9", "variant": "a", "value": 1}\n')
    with pytest.raises(InputError, match="UTF-8"):
        read_imported(tmp_path / "latin.jsonl")


# ── in an evaluation ─────────────────────────────────────────────────────────────────────────────────────────────────


NAMES = ("base", "other")
IDS = [f"p{i}" for i in range(20)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return fresh_home(tmp_path / "mlruns")


def scored(folder: Path, scores: str, home: Path) -> Ran:
    """An evaluation of two files of replies by scores made elsewhere."""
    asked = [{"id": key, "prompt": f"Is it number {key} or more?", "completion": f"It is {key}."} for key in IDS]
    variants = {}
    for name in NAMES:
        replies = [{"prompt_id": key, "text": f"{name} to {key}", "finish_reason": "stop"} for key in IDS]
        variants[name] = {"generations": str(written(folder / f"{name}.jsonl", *replies))}
    design = {
        "schema": 1, "name": "taste", "question": "Is it better?", "task": "chat", "variants": variants,
        "control": "base", "data": {"file": str(written(folder / "asked.jsonl", *asked)), "prompts": None},
        "measures": {"taste": {"scores": scores, "better": "higher"}, "length": {}},
        "contrasts": [{"name": "other-base", "arms": ["other", "base"]}], "family": {"measures": ["taste"]},
    }  # fmt: skip
    (folder / "design.yaml").write_text(yaml.safe_dump(design))
    return screentest("evaluate", folder / "design.yaml", "--json", home=home)


def test_imported_scores_are_estimated_like_our_own(home: Path, tmp_path: Path) -> None:
    rows = [{"prompt_id": key, "variant": "base", "value": 1.0 + k / 10} for k, key in enumerate(IDS)]
    rows += [{"prompt_id": key, "variant": "other", "value": 2.0 + k / 7} for k, key in enumerate(IDS)]
    rows[0]["value"] = None  # missing with a word
    del rows[-1]  # missing without one
    file = written(tmp_path / "taste.jsonl", *rows)
    imported, again = (
        screentest("scores", "import", file, "--measure", "taste", "--json", home=home).json for _ in range(2)
    )
    assert (imported["rows"], imported["reused"], again["reused"]) == (39, False, True)
    # The run that points at the one that did the work is as good a name for the scores.
    for run_id in (imported["run_id"], again["run_id"]):
        result = scored(tmp_path, run_id, home).json
        found = {e["key"]: e for e in result["estimates"]}
        assert found["taste/base"]["value"] == pytest.approx(1 + sum(k / 10 for k in range(1, 20)) / 19)
        assert (found["taste/base"]["n"], found["taste/base"]["n_missing"]) == (19, 1)
        contrast = found["taste/other-base"]
        assert contrast["value"] == pytest.approx(sum(1 + k / 7 - k / 10 for k in range(1, 19)) / 18)
        assert (contrast["n"], contrast["n_missing"]) == (18, 2)
        assert contrast["verdict"] == "better"
        walked = screentest("trace", result["run_id"], "taste/other", "--json", home=home).json
        assert walked["sources"][0]["artifact"] == "imported_scores.parquet"
        assert walked["sources"][0]["is_intact"]
    for wrong, said in ((result["run_id"], "scores import"), ("0" * 32, "")):  # a run of something else, and none
        ran = scored(tmp_path, wrong, home)
        assert (ran.code, said in ran.stderr) == (2, True)


def test_scores_of_other_data_are_refused(home: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "alien.jsonl", {"prompt_id": "alien", "variant": "base", "value": 1})
    run_id = screentest("scores", "import", file, "--measure", "taste", "--json", home=home).json["run_id"]
    ran = scored(tmp_path, run_id, home)
    assert (ran.code, "must hold values for variant `base`" in ran.stderr) == (2, True)
