"""Pairs of the chat become a study that raters can rate."""

from __future__ import annotations

from pathlib import Path

import pytest
from panels import favouring, seats
from sqlalchemy import Engine

from harness.errors import InputError
from harness.store.artifacts import read_jsonl
from harness.studies.results import study_results
from harness.types import Message
from harness.ui.chat_pairs import Pair, make_pair, study_of
from harness.ui.scenes import own_scene

SCENE = (Message(role="user", content="Where were you?", name="BEN"),)


def pairs(n: int) -> list[Pair]:
    return [make_pair("film", SCENE, [("film@candidate", f"Out, {i}."), ("base", f"In, {i}.")]) for i in range(n)]


def test_pairs_are_rated_like_any_others(sqlite: Engine, tmp_path: Path) -> None:
    kept = pairs(4)
    made = study_of(
        sqlite, [*kept, kept[0]], name="chat", question="Which?", raters=2, folder=tmp_path / "chat", rehearsal=False
    )
    assert read_jsonl(tmp_path / "chat" / "chat.jsonl", Pair) == kept  # a pair sent twice is one
    for rater in seats(sqlite, made):
        rater.rate(favouring("film@candidate"))
    (result,) = study_results(sqlite, made.study).pairs
    assert (result.variant, result.opponent) == ("base", "film@candidate")
    assert result.look.estimate.value == 0
    assert result.look.estimate.n == 4


def test_one_pair_is_no_study(sqlite: Engine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompts"):
        study_of(sqlite, pairs(1), name="one", question="Which?", raters=2, folder=tmp_path, rehearsal=False)
    assert not (tmp_path / "one.jsonl").exists()


def test_an_own_scene_needs_a_line() -> None:
    with pytest.raises(InputError, match="say something"):
        own_scene(partner="ANN", line="  ")
