"""Prepared data as a folder holds them: the prompts of each split, and what was read, repaired and left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import InputError
from harness.store.artifacts import from_json, read_json, read_parquet
from harness.types import Prompt, Split

if TYPE_CHECKING:
    import pyarrow as pa

ClusterUnit = Literal["film", "cluster", "conversation", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one split holds."""

    n_prompts: int
    n_without_reference: int  # prompts that nobody answered; they have no example
    n_examples: int
    n_tokens: int  # in the examples, prompts included
    n_completion_tokens: int  # of them under loss
    n_completion_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary:
    """What one split holds."""

    n_clusters: int
    n_conversations: int
    windows: Written


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSummary:
    """What `prepare` read, repaired, left out and wrote; `summary.json`."""

    corpus: str  # its name
    source: str  # its format, or `sample`
    corpus_digest: str
    base: str
    system: str | None  # the system prompt inside every example, which generation must give too; None: the template's
    max_tokens: int
    template: str  # "blocks": turns tokenised once; "rendered": window by window; then how the template is adapted
    cluster_unit: ClusterUnit
    n_clusters: int
    n_conversations: int
    n_utterances: int
    splits: Mapping[str, SplitSummary]
    verdict_limit: str  # why TEST can support no verdict; empty where it can
    notes: tuple[str, ...]  # for every estimate, e.g. "these films only"
    left_out: Mapping[str, int]  # windows that were not written, by reason
    duplicates: Mapping[str, int]  # near-duplicates across splits, e.g. "reply: train in test"
    repaired: Mapping[str, int]
    skipped: Mapping[str, int]
    seen: Mapping[str, int]

    @property
    def row_notes(self) -> list[str]:
        """What of the rows was left out, repaired, skipped or not taken, each with its count."""
        told = (self.left_out, self.repaired, self.skipped, self.seen)
        return [f"{n:,} × {what}" for counts in told for what, n in counts.items()]


def read_summary(folder: Path) -> PrepareSummary:
    """What `run` recorded in a prepared folder.

    Raises:
        InputError: the folder was not written by `prepare`.
    """
    return from_json(PrepareSummary, read_json(folder / "summary.json"))


def prompts_file(folder: Path, split: Split) -> Path:
    """Where the prompts of a split lie in a prepared folder."""
    return folder / f"prompts-{split}.parquet"


def read_prompts(folder: Path, split: Split) -> list[Prompt]:
    """The prompts of a split, in corpus order.

    Raises:
        InputError: the folder was not written by `prepare`.
    """
    return read_parquet(_written(prompts_file(folder, split)), Prompt)


def read_table(path: Path) -> pa.Table:
    """A Parquet file of a prepared folder, or one sentence that it is not there."""
    import pyarrow.parquet as pq

    return pq.read_table(_written(path))


def _written(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"`{path}` must be a file that `screentest prepare` wrote, got none; run it first")
    return path
