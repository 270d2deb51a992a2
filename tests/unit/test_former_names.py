"""Former names of modules: the very module, not a second copy of it."""

from __future__ import annotations

import importlib

import pytest


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
