"""Speed of writing and reading nouns, as ratios to `json` on plain dictionaries of the same content."""

from __future__ import annotations

import json
import time
import timeit
from collections.abc import Callable
from pathlib import Path

from harness.store.artifacts import read_jsonl, read_parquet, to_json, write_jsonl, write_parquet
from harness.types import Score


def fastest(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest of five calls, garbage collection left out."""
    return min(timeit.repeat(work, number=1, repeat=5, timer=time.process_time))


def test_scores_are_written_faster_than_plain_dictionaries(tmp_path: Path) -> None:
    scores = [
        Score(
            item_id=f"p{i}", criterion="fluency", judge_id="a" * 64, value=3.1 + i / 1e5, status="ok", mode="exact",
            probabilities=(0.1, 0.2, 0.3, 0.3, 0.1), mass=0.99, entropy=1.2,
        )
        for i in range(20_000)
    ]  # fmt: skip
    rows = [to_json(score) for score in scores]
    lines = [json.dumps(row) for row in rows]
    dump, load = fastest(lambda: [json.dumps(row) for row in rows]), fastest(lambda: [json.loads(x) for x in lines])
    jsonl, parquet = tmp_path / "scores.jsonl", tmp_path / "scores.parquet"
    ratios = {
        "write JSONL": fastest(lambda: write_jsonl(jsonl, scores)) / dump,
        "write Parquet": fastest(lambda: write_parquet(parquet, scores, Score)) / dump,
        "read JSONL": fastest(lambda: read_jsonl(jsonl, Score)) / load,
        "read Parquet": fastest(lambda: read_parquet(parquet, Score)) / load,
    }
    print(f"json.dumps {dump:.3f} s, json.loads {load:.3f} s;", *(f"{k} {v:.2f} ×" for k, v in ratios.items()))
    assert read_jsonl(jsonl, Score) == read_parquet(parquet, Score) == scores
    assert max(ratios["write JSONL"], ratios["write Parquet"]) <= 0.8
    assert max(ratios["read JSONL"], ratios["read Parquet"]) <= 2
