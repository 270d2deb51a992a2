"""Console output under its former name, for scripts written before the presenter; nothing here uses it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.terminal import say as say
from harness.terminal import stdout as stdout
from pipelines.cli.presenter import Result, Table, present


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; names in it are printed as they are."""
    drawn = Table(columns=tuple(columns), rows=[tuple(row) for row in rows])
    present(Result(data=None, shown=(*((title,) if title else ()), drawn)), as_json=False)
