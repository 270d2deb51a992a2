"""A newcomer guesses the file from the noun: one stem has one meaning, and a module is read in one sitting."""

from __future__ import annotations

from collections import defaultdict

from stories import REPOSITORY

MODULES = [
    file
    for room in ("harness", "pipelines")
    for file in (REPOSITORY / room).rglob("*.py")
    if file.stem not in ("__init__", "__main__")
]
# Nouns that several rooms have their part of: what it is, what runs it, how it is shown.
SHARED = {"own", "plan", "preflight", "qualification", "quiet", "ratings", "results", "session"}


def test_a_stem_has_one_meaning() -> None:
    """A command and what it runs share theirs."""
    places = defaultdict(list)
    for file in MODULES:
        places[file.stem].append(file.relative_to(REPOSITORY).parent.as_posix())
    several = {stem: rooms for stem, rooms in places.items() if len(rooms) > 1}
    assert {stem for stem, rooms in several.items() if "pipelines/cli" not in rooms} <= SHARED, several


def test_a_module_is_read_in_one_sitting() -> None:
    assert [file.name for file in MODULES if len(file.read_text().splitlines()) >= 400] == []
    assert len(list((REPOSITORY / "pipelines").glob("*.py"))) <= 8
