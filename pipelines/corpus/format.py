"""A corpus format: what it looks like, and how it becomes a `Corpus`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpus.containers import FileSet
from pipelines.corpus.corpus import Corpus, Tally


def _never(where: object, name: str, tally: Tally) -> None:
    """A folder, or a file, is never of this format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Readers of a folder (or zip) and of a file, with the corpus's name; None where it is not of this format."""

    from_folder: Callable[[FileSet, str, Tally], Corpus | None] = _never
    from_file: Callable[[Path, str, Tally], Corpus | None] = _never
    folder: str = ""  # what such a folder holds, for an error; empty: it is no folder
    is_last: bool = False  # takes whatever no other format knows
