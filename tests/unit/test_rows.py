"""Rows in columns say the same as rows one by one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.experiment.analysis.columns import read_columns
from harness.experiment.analysis.values import Row, Rows, pair, per_prompt
from harness.experiment.examples import scores_of
from harness.experiment.record_parts import LostScores, lost_scores
from harness.judging.scored import ScoredGeneration
from harness.store.artifacts import read_parquet, write_parquet


@st.composite
def row_lists(draw: st.DrawFn) -> list[Row]:
    cells = st.tuples(st.integers(0, 6), st.none() | st.floats(-9, 9), st.integers(0, 2))
    return [
        Row(prompt_id=f"p{prompt}", cluster=f"m{prompt % 3}", value=value, draw=n)
        for prompt, value, n in draw(st.lists(cells, max_size=25))
    ]


@given(rows=row_lists())
def test_columns_give_back_the_rows(rows: list[Row]) -> None:
    columns = Rows.of(rows)
    assert list(columns) == rows
    assert columns.as_list() == [row.value for row in rows]
    assert columns.n_missing == sum(row.value is None for row in rows)
    assert list(columns.there()) == [row for row in rows if row.value is not None]


def by_hand(rows: list[Row]) -> dict[str, float | None]:
    draws: dict[str, list[float | None]] = {}
    for row in rows:
        draws.setdefault(row.prompt_id, []).append(row.value)
    there = {prompt: [v for v in values if v is not None] for prompt, values in draws.items()}
    return {prompt: math.fsum(values) / len(values) if values else None for prompt, values in there.items()}


@given(rows=row_lists())
def test_a_prompt_counts_once_with_the_mean_of_its_draws(rows: list[Row]) -> None:
    merged = list(per_prompt(Rows.of(rows)))
    expected = by_hand(rows)
    assert [row.prompt_id for row in merged] == sorted(expected)
    for row in merged:
        assert row.cluster == f"m{int(row.prompt_id[1:]) % 3}"
        assert row.value == (pytest.approx(expected[row.prompt_id]) if expected[row.prompt_id] is not None else None)


@given(first=row_lists(), second=row_lists())
def test_arms_are_joined_by_prompt_and_what_lacks_is_missing(first: list[Row], second: list[Row]) -> None:
    a, b = by_hand(first), by_hand(second)
    both = [p for p in sorted(a.keys() & b.keys()) if a[p] is not None and b[p] is not None]
    found = pair(per_prompt(Rows.of(first)), per_prompt(Rows.of(second)))
    assert found.treatment.tolist() == pytest.approx([a[p] for p in both])
    assert found.reference.tolist() == pytest.approx([b[p] for p in both])
    assert found.lacking.n == len(a.keys() | b.keys()) - len(both)
    again = pair(per_prompt(Rows.of(second)), per_prompt(Rows.of(first)))
    assert again.treatment.tolist() == found.reference.tolist()


def a_score(prompt: str, variant: str, draw: int, value: float | None, **changes: object) -> ScoredGeneration:
    fields: dict[str, Any] = {
        "cluster": f"m{prompt[1]}",
        "criterion": "coherence",
        "judge_id": "j",
        "status": "ok" if value is not None else "low_mass",
        "mode": "exact",
        "reason": "",
        "item_id": "",
    }
    return ScoredGeneration(prompt_id=prompt, variant=variant, draw=draw, value=value, **(fields | changes))


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        a_score(f"p{i}", variant, draw, float(rng.normal()) if rng.random() > 0.2 else None, criterion=criterion)
        for i in rng.permutation(9)
        for variant in ("sft", "base")
        for criterion in ("coherence", "fluency")
        for draw in range(2)
    ]
    write_parquet(tmp_path / "scores.parquet", rows, ScoredGeneration)
    return tmp_path / "scores.parquet"


def test_a_file_read_in_columns_says_what_its_nouns_say(scores: Path) -> None:
    nouns = read_parquet(scores, ScoredGeneration)
    columns = read_columns(scores, values=("value",))
    found = list(columns.rows("value", variant="sft", criterion="fluency"))
    assert found == [
        Row(prompt_id=s.prompt_id, cluster=s.cluster, value=s.value, draw=s.draw)
        for s in nouns
        if s.variant == "sft" and s.criterion == "fluency"
    ]
    assert len(columns.rows("value")) == len(nouns)
    assert len(columns.rows("value", variant="nobody")) == 0
    # Labels stand in order, so that clusters are drawn in the same order whatever the order of the rows.
    labels = [str(label) for label in columns.rows("value").prompts.labels]
    assert labels == sorted(labels)


def test_missing_scores_are_counted_by_reason(scores: Path) -> None:
    nouns = read_parquet(scores, ScoredGeneration)
    lost = lost_scores(scores)
    assert sum(row.n for row in lost) == sum(s.value is None for s in nouns) > 0
    for row in lost:
        mine = [s for s in nouns if (s.judge_id, s.criterion, s.variant) == (row.judge_id, row.criterion, row.variant)]
        assert (row.n, row.of) == (sum(s.status == row.status for s in mine), len(mine))
    assert lost == sorted(lost, key=lambda row: (row.judge_id, row.criterion, row.variant, row.status))
    assert {type(row) for row in lost} == {LostScores}


def test_only_the_scores_of_the_prompts_asked_for_are_read(scores: Path) -> None:
    nouns = read_parquet(scores, ScoredGeneration)
    picked = scores_of(scores, ["p3", "p5"])
    assert picked == [s for s in nouns if s.prompt_id in ("p3", "p5")]


def test_a_file_without_draws_reads_as_one_draw(tmp_path: Path) -> None:
    path = tmp_path / "heldout.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt_id": ["b", "a"], "cluster": ["m", "m"], "bits_per_byte": [1.0, None]}), path)
    assert list(read_columns(path, values=("bits_per_byte",)).rows("bits_per_byte")) == [
        Row(prompt_id="b", cluster="m", value=1.0),
        Row(prompt_id="a", cluster="m", value=None),
    ]
    with pytest.raises(InputError, match="must have the columns perplexity"):
        read_columns(path, values=("perplexity",))
