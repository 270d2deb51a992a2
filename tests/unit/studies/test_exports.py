"""Files that leave the store: what others read of them, and what must never be in them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from certain import sure
from panels import Rule, a_study, cast_for, favouring, saying, seats
from sqlalchemy import Engine

from harness.errors import InputError, SplitError
from harness.seeding import stream
from harness.studies.casting import Cast
from harness.studies.exports import export, preference_pairs, rating_rows, votes_csv
from harness.studies.results import study_results
from harness.studies.serving import RatingTask
from harness.studies.studies import Created, add_rehearsal


def mixed(seed: int) -> Rule:
    """A rater with a mind of some kind."""
    rng, verdicts = stream(seed, "mixed"), ("left", "right", "tie", "both_bad")
    return saying(lambda row: verdicts[int(rng.choice(4, p=[0.35, 0.4, 0.15, 0.1]))])


def rated(engine: Engine, *, trial: bool = False, **changes: Any) -> Created:
    """A study that was rated, and tried in rehearsal where there is a trial."""
    created = a_study(engine, **changes)
    for number, rater in enumerate(seats(engine, created)):
        rater.rate(mixed(number))
    if trial:
        rehearse(engine, created, "sft")
    return created


def rehearse(engine: Engine, created: Created, liked: str) -> None:
    seats(engine, created, add_rehearsal(engine, created.study, "trial"))[0].rate(favouring(liked))


def test_evalica_reads_the_votes_and_agrees_on_the_order(sqlite: Engine) -> None:
    from evalica import bradley_terry
    from evalica.__main__ import read_csv

    created = rated(sqlite, n_prompts=30, variants=("a", "b", "c"))
    text = votes_csv(sqlite, created.study)
    xs, ys, winners = read_csv(io.StringIO(text))
    assert len(xs) == len(ys) == len(winners) == 3 * 3 * 30  # it drops a row whose winner it does not know
    scores = bradley_terry(xs, ys, winners).scores
    fit = sure(study_results(sqlite, created.study).strengths)
    ours = {v: e.value for v, e in zip(fit.variants, fit.strengths, strict=True)}
    assert sorted(ours, key=lambda v: ours[v]) == sorted(scores.index, key=lambda v: scores[v])


def test_votes_hold_what_counts_and_nothing_else(engine: Engine) -> None:
    created = rated(engine, trial=True, n_prompts=5, attention=2, repeats=0.4, practice=True)
    lines = votes_csv(engine, created.study).splitlines()
    assert lines[0] == "left,right,winner,rater,prompt_id,cluster"
    excluded = {q.rater for q in study_results(engine, created.study).raters if q.is_excluded}
    assert len(lines) - 1 == 5 * (3 - len(excluded))
    assert "trial" not in "".join(lines)
    assert "human" not in "".join(lines)


def test_every_row_stands_in_the_jsonl_marked_for_what_it_is(engine: Engine, tmp_path: Path) -> None:
    created = rated(engine, trial=True, n_prompts=4, attention=1, repeats=0.25, practice=True)
    file = tmp_path / "ratings.jsonl"
    n = export(engine, created.study, "ratings", file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert n == len(rows) == 4 * (4 + 1 + 1)
    assert {r["kind"] for r in rows} == {"main", "repeat", "attention"}
    assert {r["rater"] for r in rows if r["is_rehearsal"]} == {"trial"}
    for row in rows:
        sides = {"left": row["left"], "right": row["right"]}
        assert row["winner"] == sides.get(row["verdict"], row["verdict"])
        assert (row["has_passed"] is None) == (row["kind"] != "attention")
        assert row["shown_at"] < row["cast_at"]
        assert row["declaration"] == created.study.declaration


def test_train_votes_become_pairs_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    created = a_study(engine, n_prompts=4, split="train")
    for rater, liked in zip(seats(engine, created), ("sft", "sft", "base"), strict=True):
        rater.rate(favouring(liked))
    for kind in ("votes", "ratings"):
        with pytest.raises(SplitError, match="preference pairs"):
            export(engine, created.study, kind, tmp_path / "never")
    pairs = preference_pairs(engine, created.study)
    assert [p.prompt.split for p in pairs] == ["train"] * 4
    assert all(p.chosen.startswith("sft says") and p.rejected.startswith("base says") for p in pairs)
    assert {p.margin for p in pairs} == {1 / 3}
    assert {p.reason for p in pairs} == {"2 of 3 decisive votes, 3 raters"}
    file = tmp_path / "pairs.jsonl"
    assert export(engine, created.study, "preferences", file) == 4
    row = json.loads(file.read_text().splitlines()[0])
    assert [m["role"] for m in row["prompt"]] == ["assistant", "user"]
    assert row["chosen"][0]["role"] == row["rejected"][0]["role"] == "assistant"
    assert (row["preferred_by"], row["split"]) == ("human", "train")


def test_trl_reads_the_pairs(sqlite: Engine, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl.data_utils import is_conversational, maybe_extract_prompt

    created = rated(sqlite, n_prompts=6, split="train")
    export(sqlite, created.study, "preferences", tmp_path / "pairs.jsonl")
    data = load_dataset("json", data_files=str(tmp_path / "pairs.jsonl"), split="train", cache_dir=str(tmp_path))
    assert is_conversational(data[0])
    assert maybe_extract_prompt(data[0])["prompt"] == data[0]["prompt"]


@pytest.mark.parametrize(
    "changes", [{}, {"kind": "likert"}, {"kind": "audit", "split": "train", "variants": ("chosen", "rejected")}]
)
def test_nothing_but_train_votes_becomes_pairs(sqlite: Engine, tmp_path: Path, changes: dict[str, Any]) -> None:
    created = a_study(sqlite, **changes)
    with pytest.raises(SplitError, match="never train"):
        export(sqlite, created.study, "preferences", tmp_path / "never.jsonl")
    assert not (tmp_path / "never.jsonl").exists()


def test_an_even_split_and_ties_prefer_nothing(engine: Engine) -> None:
    created = a_study(engine, n_prompts=3, split="train", panel={"raters": 2})
    for rater, liked in zip(seats(engine, created), ("sft", "base"), strict=True):
        rater.rate(favouring(liked))
    assert preference_pairs(engine, created.study) == []


def test_an_audit_leaves_as_ratings(sqlite: Engine) -> None:
    created = rated(sqlite, kind="audit", split="train", variants=("chosen", "rejected"), n_prompts=8)
    assert {r.left for r in rating_rows(sqlite, created.study)} == {"chosen", "rejected"}
    (pair,) = study_results(sqlite, created.study).pairs
    assert (pair.variant, pair.look.estimate.n) == ("chosen", 8)


def test_planning_reads_exported_ratings_as_the_votes_that_they_are(sqlite: Engine, tmp_path: Path) -> None:
    """Checks, repeats and rehearsal plan nothing; a prompt that nobody could judge is missing, not a tie."""
    from harness.experiment.planning.pilot_data import read_pilot_file

    created = a_study(sqlite, n_prompts=6, attention=2, repeats=0.4)

    def rule(task: RatingTask, row: Any) -> Cast:
        if row.prompt_id == "p0":
            return cast_for(task, action="skip", reason="cannot follow")
        return favouring("sft")(task, row)

    for rater in seats(sqlite, created):
        rater.rate(rule)
    rehearse(sqlite, created, "base")
    file = tmp_path / "ratings.jsonl"
    assert export(sqlite, created.study, "ratings", file) > 18
    pilot = read_pilot_file(file, treatment="sft", control="base")
    assert pilot.rows.values.tolist() == [0.5] * 5
    assert pilot.rows.n_missing == 1
    rows = [json.loads(line) | {"right": None} for line in file.read_text().splitlines()]
    (tmp_path / "marks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="votes between two replies"):
        read_pilot_file(tmp_path / "marks.jsonl", treatment="sft", control="base")
