"""Stored rows in columns, for as many as a large experiment has: no object is made per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import InputError
from harness.experiment.analysis.values import Rows
from harness.stats.rows import Coded

if TYPE_CHECKING:
    import pyarrow as pa

FILTERS = ("variant", "criterion", "judge_id")  # text by which rows are picked, where a file has it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """A file of rows."""

    texts: Mapping[str, Coded]  # those of FILTERS that the file has
    values: Mapping[str, Rows]  # by the column that they are read from

    def rows(self, value: str, **where: str) -> Rows:
        """The rows whose texts are as asked, with `value` under them."""
        rows = self.values[value]
        picked = np.ones(len(rows), dtype=bool)
        for name, wanted in where.items():
            text = self.texts[name]
            picked &= text.codes == (text.labels.index(wanted) if wanted in text.labels else -1)
        return rows.taken(picked) if where else rows


def read_columns(path: Path, *, values: Sequence[str], prompt: str = "prompt_id") -> Columns:
    """Read what an analysis needs of a Parquet file that `write_parquet` wrote.

    `prompt` is the column that says which rows belong together: the prompt, or the film where a row is a film's.

    Raises InputError: the file has no such column.
    """
    import pyarrow.parquet as pq

    known = pq.read_schema(path).names
    if lacking := [name for name in (prompt, "cluster", *values) if name not in known]:
        raise InputError(f"`{path}` must have the columns {', '.join(lacking)}; it has {', '.join(known)}")
    texts = list(dict.fromkeys([prompt, "cluster", *(name for name in FILTERS if name in known)]))
    numbers = [*values, *(["draw"] if "draw" in known else [])]
    table = pq.read_table(path, columns=texts + numbers, read_dictionary=texts)
    coded = {name: _coded(table[name], name=name, path=path) for name in texts}
    draws = table["draw"].to_numpy() if "draw" in known else np.zeros(len(table), dtype=np.intp)
    return Columns(
        texts={name: coded[name] for name in FILTERS if name in coded},
        values={
            name: Rows(
                prompts=coded[prompt],
                clusters=coded["cluster"],
                draws=draws,
                values=table[name].cast("double").to_numpy(),  # NaN for null
                present=table[name].is_valid().to_numpy(),
            )
            for name in values
        },
    )


def _coded(column: pa.ChunkedArray, *, name: str, path: Path) -> Coded:
    """A text column with its labels in order, as if `code_labels` had read it."""
    if column.null_count:
        raise InputError(f"`{name}` must stand in every row of `{path}`, it lacks in {column.null_count}")
    whole = column.unify_dictionaries().combine_chunks()
    labels = whole.dictionary.to_pylist()
    order = sorted(range(len(labels)), key=labels.__getitem__)
    rank = np.empty(len(labels), dtype=np.intp)
    rank[order] = np.arange(len(labels))
    return Coded(codes=rank[whole.indices.to_numpy()], labels=tuple(labels[i] for i in order))
