"""Judges' stored scores, read for what a report says of single rows: a few replies' own scores, and what is missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from harness.judging.results import ScoredGeneration
from harness.store.artifacts import read_parquet

GROUP = ("judge_id", "criterion", "variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class LostScores:
    """Scores of one judge, criterion and variant that are missing for one reason."""

    judge_id: str
    criterion: str
    variant: str
    status: str
    n: int
    of: int  # scores that there should be


def scores_of(file: Path, prompt_ids: Collection[str]) -> list[ScoredGeneration]:
    """Every score of the replies to these prompts."""
    return read_parquet(file, ScoredGeneration, where={"prompt_id": prompt_ids})


def lost_scores(file: Path) -> list[LostScores]:
    """What is missing in a judge's table and why, in one order whatever order it is counted in."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=[*GROUP, "status", "value"])
    totals = {
        tuple(row[name] for name in GROUP): row["count_all"]
        for row in table.group_by(list(GROUP)).aggregate([([], "count_all")]).to_pylist()
    }
    missing = table.filter(table["value"].is_null())
    counted = missing.group_by([*GROUP, "status"]).aggregate([([], "count_all")]).to_pylist()
    found = [
        LostScores(
            judge_id=row["judge_id"],
            criterion=row["criterion"],
            variant=row["variant"],
            status=row["status"],
            n=row["count_all"],
            of=totals[tuple(row[name] for name in GROUP)],
        )
        for row in counted
    ]
    return sorted(found, key=lambda row: (row.judge_id, row.criterion, row.variant, row.status))
