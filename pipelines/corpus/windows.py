"""Windows on disk: prompts and training examples as Parquet, a file per split, written and read in columns.

Columns are those of `Prompt` and `Example`. Nothing here makes a Python object per row unless the reader asks for it:
a full corpus has 221,616 windows and 20 million tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from harness.store.artifacts import arrow_schema
from harness.store.prepared import Written, prompts_file, read_table
from harness.types import Example, Message, Progress, Prompt, Split
from pipelines.corpus.blocks import TokenIds, WindowIds, WindowRenderer, ragged_range
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.turns import NO_REPLY, Integers, Turns, Windows

if TYPE_CHECKING:
    import pyarrow as pa


_BATCH = 8192  # windows per row group: about a million tokens
# Dictionaries pay where few values repeat; tried on token ids they take three times as long and give larger files.
_COMPRESSION: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["cluster", "split"]}


def examples_file(folder: Path, split: Split) -> Path:
    """Where the training windows of a split lie in a prepared folder."""
    return folder / f"examples-{split}.parquet"


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class WindowWriter:
    """Writes prompts and examples into a folder a batch at a time; the same windows give the same bytes."""

    def __init__(
        self,
        folder: Path,
        *,
        corpus: Corpus,
        turns: Turns,
        renderer: WindowRenderer,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        total: int = 0,  # windows that are to be written in all
    ) -> None:
        import pyarrow as pa

        self._folder = folder
        self._turns = turns
        self._renderer = renderer
        self._on_progress, self._done, self._total = on_progress, 0, total
        self._texts = pa.array(turns.texts, pa.string())
        self._names = pa.array(turns.names, pa.string())
        self._clusters = pa.array([conversation.cluster for conversation in corpus.conversations], pa.string())

    def write(self, split: Split, windows: Windows) -> Written:
        """Write the two files of one split: windows with the histories that fit, as `fit_windows` gives them."""
        import pyarrow.parquet as pq

        n_examples = n_tokens = n_completion_tokens = n_completion_bytes = 0
        with (
            pq.ParquetWriter(prompts_file(self._folder, split), arrow_schema(Prompt), **_COMPRESSION) as prompts,
            pq.ParquetWriter(examples_file(self._folder, split), _example_schema(), **_COMPRESSION) as examples,
        ):
            for begin in range(0, len(windows), _BATCH):
                batch = windows.take(np.arange(begin, min(begin + _BATCH, len(windows))))
                prompts.write_batch(self._prompt_batch(split, batch))
                answered = batch.take(np.flatnonzero(batch.replies != NO_REPLY))
                ids = self._renderer.ids(self._turns, answered)
                rows = self._example_batch(split, answered, ids)
                examples.write_batch(rows)
                n_examples += len(answered)
                n_tokens += len(ids.flat)
                n_completion_tokens += len(ids.flat) - int(ids.n_prompt.sum())
                n_completion_bytes += int(rows.column("n_completion_bytes").to_numpy().sum())
                self._done += len(batch)
                self._on_progress(Progress(done=self._done, total=self._total, unit="windows", note="written"))
        return Written(
            n_prompts=len(windows),
            n_without_reference=len(windows) - n_examples,
            n_examples=n_examples,
            n_tokens=n_tokens,
            n_completion_tokens=n_completion_tokens,
            n_completion_bytes=n_completion_bytes,
        )

    def _prompt_batch(self, split: Split, batch: Windows) -> pa.RecordBatch:
        import pyarrow as pa

        n_history = batch.last - batch.first + 1
        history = ragged_range(batch.first, n_history)
        is_own = self._turns.speakers[history] == np.repeat(batch.speakers, n_history)
        roles = pa.array(["user", "assistant"], pa.string()).take(pa.array(is_own.astype(np.int8)))
        contents, names = (column.take(pa.array(history)) for column in (self._texts, self._names))
        messages = pa.StructArray.from_arrays([roles, contents, names], fields=list(arrow_schema(Message)))
        offsets = pa.array(np.concatenate([[0], np.cumsum(n_history)]), pa.int32())
        replies = pa.array(batch.replies, mask=batch.replies == NO_REPLY)
        columns = {
            "id": pa.array(batch.prompt_ids, pa.string()),
            "messages": pa.ListArray.from_arrays(offsets, messages),
            "split": pa.repeat(pa.scalar(split, pa.string()), len(batch)),
            "cluster": self._clusters.take(pa.array(batch.conversations)),
            "reference": self._texts.take(replies),
        }
        return pa.record_batch(columns, schema=arrow_schema(Prompt))

    def _example_batch(self, split: Split, batch: Windows, ids: WindowIds) -> pa.RecordBatch:
        import pyarrow as pa
        import pyarrow.compute as pc

        lengths = pc.binary_length(self._texts.take(pa.array(batch.replies)))
        columns = {
            "prompt_id": pa.array(batch.prompt_ids, pa.string()),
            "cluster": self._clusters.take(pa.array(batch.conversations)),
            "split": pa.repeat(pa.scalar(split, pa.string()), len(batch)),
            "input_ids": pa.ListArray.from_arrays(pa.array(ids.offsets, pa.int32()), pa.array(ids.flat)),
            "n_prompt_tokens": pa.array(ids.n_prompt, pa.int32()),
            "n_completion_bytes": lengths.cast(pa.int32()),
        }
        return pa.record_batch(columns, schema=_example_schema())


def _example_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("prompt_id", pa.string()),
            ("cluster", pa.string()),
            ("split", pa.string()),
            ("input_ids", pa.list_(pa.int32())),
            ("n_prompt_tokens", pa.int32()),
            ("n_completion_bytes", pa.int32()),
        ]
    )


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleTable(Sequence[Example]):
    """Training windows in columns; `table[i]` makes the `Example` of row i."""

    split: Split
    prompt_ids: pa.StringArray
    clusters: pa.StringArray
    flat_ids: TokenIds  # all examples' token ids end to end
    offsets: Integers  # (n + 1,) where each example begins in `flat_ids`
    n_prompt_tokens: NDArray[np.int32]  # (n,)
    n_completion_bytes: NDArray[np.int32]  # (n,)

    def __len__(self) -> int:
        return len(self.n_prompt_tokens)

    @overload
    def __getitem__(self, row: int) -> Example: ...

    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...

    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"`row` must be one of {len(self)} examples, got {row}")
        row %= len(self)
        return Example(
            prompt_id=self.prompt_ids[row].as_py(),
            cluster=self.clusters[row].as_py(),
            split=self.split,
            input_ids=tuple(self.input_ids(row).tolist()),
            n_prompt_tokens=int(self.n_prompt_tokens[row]),
            n_completion_bytes=int(self.n_completion_bytes[row]),
        )

    def input_ids(self, row: int) -> TokenIds:
        """Token ids of one example, (length,), without copying."""
        return self.flat_ids[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Integers:
        """Tokens of each example, (n,)."""
        return np.diff(self.offsets)


def read_examples(folder: Path, split: Split) -> ExampleTable:
    """The training windows of a split. Raises InputError: the folder was not written by `prepare`."""
    table = read_table(examples_file(folder, split))
    column: dict[str, Any] = {name: table.column(name).combine_chunks() for name in table.column_names}
    ids = column["input_ids"]
    return ExampleTable(
        split=split,
        prompt_ids=column["prompt_id"],
        clusters=column["cluster"],
        flat_ids=ids.flatten().to_numpy(),
        offsets=ids.offsets.to_numpy().astype(np.int64),
        n_prompt_tokens=column["n_prompt_tokens"].to_numpy(),
        n_completion_bytes=column["n_completion_bytes"].to_numpy(),
    )
