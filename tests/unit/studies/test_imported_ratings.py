"""Ratings collected elsewhere: a closed study, or a sentence with file and line and nothing stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from harness.errors import InputError
from harness.studies.exports import export
from harness.studies.imported import Imported, import_ratings, study_name
from harness.studies.marks import mark_table
from harness.studies.rating_rows import counted, read_rows
from harness.studies.results import study_results
from harness.studies.sql_schema import items, ratings, slots, studies

GOOD = {"item": "p1", "rater": "ann", "criterion": "coherence", "value": 2, "scale": "1-5", "cluster": "f1"}
MARK = {**GOOD, "item": "i1"}
VOTE = {"left": "sft", "right": "base", "winner": "left", "rater": "ann", "prompt_id": "p1", "cluster": "f1"}
KNOWN = {"prompt_id": "p1", "cluster": "f1", "prompt": "Where to?"}
ITEMS = [
    {**KNOWN, "item": "i0", "variant": "sft", "response": "Home, sft."},
    {**KNOWN, "item": "i1", "variant": "base", "response": "Home, base."},
]


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    (file := folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def brought(engine: Engine, folder: Path, rows: list[dict[str, Any]], **how: Any) -> Imported:
    return import_ratings(engine, written(folder, "theirs.jsonl", rows), name="theirs", **how)


def marks(n: int = 12, raters: tuple[str, ...] = ("ann", "ben", "cat")) -> list[dict[str, Any]]:
    return [
        {**GOOD, "item": f"p{i}", "rater": rater, "value": 1 + (i + j) % 5, "cluster": f"f{i // 2}"}
        for i in range(n) for j, rater in enumerate(raters) if (i + j) % 4
    ]  # fmt: skip


def test_marks_with_gaps_are_a_closed_study(sqlite: Engine, tmp_path: Path) -> None:
    rows = [*marks(), {**GOOD, "criterion": "kind", "scale": None, "value": "yes", "cluster": "f0"}]
    found = brought(sqlite, tmp_path, rows)
    study = found.study
    assert (study.kind, study.is_open, found.n_ratings, found.n_raters, found.n_items) == (
        "likert", False, len(rows), 3, 12,
    )  # fmt: skip
    results = study_results(sqlite, study)
    assert results.n_rated == len(marks())
    assert results.n_waiting == 0
    assert not any(rater.is_excluded for rater in results.raters)
    assert [m.criterion for m in results.marks] == ["coherence"]  # words have no mean
    table = mark_table(counted(read_rows(sqlite, study)), "coherence")
    assert sorted(table.table[~(table.table != table.table)].tolist()) == sorted(float(r["value"]) for r in marks())
    again = brought(sqlite, tmp_path, rows)
    assert not again.is_new
    with pytest.raises(InputError, match="other ratings"):
        brought(sqlite, tmp_path, rows[:-1])


def test_votes_are_read_by_side_or_by_name_and_leave_as_they_came(sqlite: Engine, tmp_path: Path) -> None:
    rows = [
        VOTE,
        {**VOTE, "rater": "ben", "left": "base", "right": "sft", "winner": "sft"},
        {**VOTE, "rater": "cat", "winner": "tie (bothbad)"},
        {**VOTE, "prompt_id": "p2", "winner": "Model_B"},
    ]
    study = brought(sqlite, tmp_path, rows).study
    assert [r.winner for r in counted(read_rows(sqlite, study))] == ["sft", "base", "sft", "both_bad"]
    assert study_results(sqlite, study).strengths is not None
    out = tmp_path / "votes.csv"
    export(sqlite, study, "votes", out)
    back = import_ratings(sqlite, out, name="back").study
    assert sorted(str(r.winner) for r in counted(read_rows(sqlite, back))) == ["base", "sft", "sft", "tie"]
    export(sqlite, study, "ratings", tmp_path / "rows.jsonl")
    whole = import_ratings(sqlite, tmp_path / "rows.jsonl", name="whole").study
    assert sorted(str(r.winner) for r in counted(read_rows(sqlite, whole))) == ["base", "both_bad", "sft", "sft"]


def test_items_bring_prompts_replies_and_variants(sqlite: Engine, tmp_path: Path) -> None:
    known = written(tmp_path, "items.jsonl", ITEMS)
    by_place = {k: v for k, v in GOOD.items() if k != "item"} | {"prompt_id": "p1", "variant": "sft"}
    study = brought(sqlite, tmp_path, [{**GOOD, "item": "i1"}, by_place], items=known).study
    row, other = read_rows(sqlite, study)
    assert (other.prompt_id, other.replies[0].text) == ("p1", "Home, sft.")
    assert (row.prompt_id, row.replies[0].variant, row.replies[0].text) == ("p1", "base", "Home, base.")
    assert row.messages[0].content == "Where to?"
    import_ratings(sqlite, written(tmp_path, "votes.jsonl", [VOTE]), name="votes", items=known)


@pytest.mark.parametrize(
    ("first", "changes", "reason"),
    [
        (MARK, {"item": None}, "`item`"),
        (MARK, {"item": "p7"}, "one of the 2 items"),
        (MARK, {"item": "i0", "variant": "dpo"}, "`variant`"),
        (MARK, {"item": "i0", "value": 6}, "scale 1-5"),
        (MARK, {"item": "i0", "value": "good"}, "must be a number"),
        (MARK, {"item": "i0", "value": True}, "must be a number"),
        (MARK, {"item": "i0", "scale": "5-1"}, "lowest and highest"),
        (MARK, {"item": "i0", "scale": [1, 7]}, "same on all rows"),
        (MARK, {"item": "i0", "cluster": "f9", "rater": "ben"}, "once"),
        (MARK, {"item": "i0", "rater": "x" * 81}, "80 characters"),
        (MARK, {"item": "i0", "rater": 1.5}, "`rater`"),
        (MARK, {"item": "i1"}, "on line 1"),
        (VOTE, {"winner": "dpo"}, "`winner`"),
        (VOTE, {"right": "sft"}, "two variants"),
        (VOTE, {"right": None}, "two variants"),
        (VOTE, {"right": "dpo"}, "between variants of its item (base, sft)"),
        (VOTE, {"prompt_id": "p7"}, "one of the 2 items"),
        (VOTE, {"left": "base", "right": "sft"}, "once"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_and_nothing_is_stored(
    sqlite: Engine, tmp_path: Path, first: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    known = written(tmp_path, "items.jsonl", ITEMS)
    row = first | changes
    with pytest.raises(InputError, match=r"theirs\.jsonl` line [23]: ") as caught:
        brought(sqlite, tmp_path, [first, row, row], items=known)
    assert reason in str(caught.value)
    with sqlite.begin() as connection:
        for table in (studies, items, slots, ratings):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_a_file_gives_its_study_a_name_that_names_may_be() -> None:
    assert study_name(Path("/x/my ratings (1).final.csv")) == "my-ratings-1-.final"
    assert study_name(Path("…….csv")) == "ratings"
