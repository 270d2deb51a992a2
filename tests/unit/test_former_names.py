"""Former names of modules: the very module, not a second copy of it."""

from __future__ import annotations

import importlib

import pytest
from stories import REPOSITORY

from harness.moved import present_name


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("harness.ratings", "harness.studies"),
        ("harness.ratings.backup", "harness.studies.backup"),  # moved with its package
        ("harness.ratings.design", "harness.studies.study_design"),  # and renamed there
        ("pipelines.duplicates", "pipelines.corpus.duplicates"),
    ],
)
def test_a_former_name_gives_the_module_itself(former: str, present: str) -> None:
    assert importlib.import_module(former) is importlib.import_module(present)
    assert importlib.import_module(present).__name__ == present


def test_no_module_has_the_former_name_of_another() -> None:
    files = [file for room in ("harness", "pipelines") for file in (REPOSITORY / room).rglob("*.py")]
    parts = [file.relative_to(REPOSITORY).with_suffix("").parts for file in files]
    names = [".".join(of_file).removesuffix(".__init__") for of_file in parts]
    assert [name for name in names if present_name(name) != name] == []
