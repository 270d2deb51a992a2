"""Items are blind, and every score finds its generation again."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import ScriptedJudge
from nouns import generation, prompt

from harness.errors import InputError
from harness.judging import ScoredGeneration, join_scores, judged_items, load_criterion
from harness.store.artifacts import read_parquet, write_parquet

PROMPTS = [prompt(p, f"said {p}", cluster=f"film-{p}", reference="secret reference") for p in ("p1", "p2")]
GENERATIONS = [
    generation(f"{v} says {p.id} {d}", p, variant=v, draw=d)
    for v in ("base", "sft")
    for p in PROMPTS[::-1]
    for d in (0, 1)
]


def test_items_are_blind_and_grouped_by_prompt() -> None:
    items = judged_items(PROMPTS, GENERATIONS)
    assert [i.cluster for i in items] == ["film-p1"] * 4 + ["film-p2"] * 4
    assert len({i.id for i in items}) == 8
    assert not any("base" in i.id or "sft" in i.id or "secret" in repr(i) for i in items)
    assert judged_items(PROMPTS, GENERATIONS[::-1])[0].id in {i.id for i in items}


def test_how_a_generation_ended_reaches_the_judge() -> None:
    first, second = PROMPTS
    cut, failed = generation("I was", first, finish="length"), generation("lost", second, finish="error")
    one, two = judged_items(PROMPTS, [cut, failed])
    assert one.is_truncated
    assert (one.missing, two.missing, two.reply) == (None, "failed", "")


def test_scores_find_their_rows_and_survive_a_file(tmp_path: Path) -> None:
    judge = ScriptedJudge(
        value=lambda item, criterion: None if "p2 1" in item.reply else float(len(item.reply)),
        criteria=(load_criterion("coherence"), load_criterion("fluency")),
    )
    rows = join_scores(GENERATIONS, judge.score(judged_items(PROMPTS, GENERATIONS)))
    assert len(rows) == 16
    texts = {(g.prompt_id, g.variant, g.draw): g.text for g in GENERATIONS}
    for row in rows:
        text = texts[row.prompt_id, row.variant, row.draw]
        assert row.value == (None if "p2 1" in text else len(text))
    write_parquet(tmp_path / "scores.parquet", rows, ScoredGeneration)
    assert read_parquet(tmp_path / "scores.parquet", ScoredGeneration) == rows


def test_strangers_are_refused() -> None:
    with pytest.raises(InputError, match=r"^`p9` must be one of the prompts"):
        judged_items(PROMPTS, [generation("Me.", "p9")])
    scores = ScriptedJudge(value=lambda i, c: 1.0, criteria=(load_criterion("fluency"),)).score(
        judged_items(PROMPTS, GENERATIONS)
    )
    with pytest.raises(InputError, match="must be the item of one of the generations"):
        join_scores(GENERATIONS[:1], scores)
