"""Evaluation steps written by a model: read as a list, frozen in the criterion's file, part of the judge's id."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import UniformModel, WordModel, WritingModel

from harness.errors import ConfigError, JudgeError, UnavailableError
from harness.judging.criterion_files import read_criterion
from harness.judging.steps import draft_steps, freeze_steps, read_steps, require_unfrozen
from harness.types import Criterion

WARMTH = Criterion(name="warmth", definition="Warmth is how kind the reply is.", steps=())
LIST = "Here you go:\n1. Read the reply.\n2) Note every kind word.\n**3.** Choose a score from 1 to 5.\n\nGood luck!"


def test_steps_are_the_numbered_lines_alone() -> None:
    assert read_steps(LIST) == ("Read the reply.", "Note every kind word.", "Choose a score from 1 to 5.")
    assert read_steps("Step 1: Look.\nstep 2. Look.\n- no\n3.\n12 angry men") == ("Look.",)  # each once
    assert read_steps("") == ()


@pytest.mark.parametrize("text", ["", "Be kind.", "1. One.\n2. Two.", "\n".join(f"{i}. s{i}" for i in range(1, 13))])
def test_anything_but_a_list_of_three_to_ten_is_refused(text: str) -> None:
    with pytest.raises(JudgeError, match="must be a numbered list of 3 to 10, the model wrote"):
        draft_steps(WARMTH, model=WritingModel(text=lambda chat: text))


def test_a_model_that_cannot_write_is_refused() -> None:
    with pytest.raises(UnavailableError, match="generate"):
        draft_steps(WARMTH, model=WordModel())
    with pytest.raises(JudgeError):  # letters, no list
        draft_steps(WARMTH, model=UniformModel())


def test_steps_are_frozen_in_the_file_and_not_replaced_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "warmth.yaml"
    path.write_text("name: warmth\ndefinition: Warmth is how kind the reply is.\nscale: [1, 5]\n", encoding="utf-8")
    drafted = draft_steps(read_criterion(path), model=WritingModel(text=lambda chat: LIST))
    freeze_steps(path, drafted, written_by="fake (ffff)")
    assert path.read_text(encoding="utf-8").startswith("# Steps drafted by fake (ffff). Read them")
    assert read_criterion(path) == drafted
    with pytest.raises(ConfigError, match="pass --force to replace them"):
        require_unfrozen(path, drafted, force=False)
    require_unfrozen(path, drafted, force=True)
    require_unfrozen(path, WARMTH, force=False)
