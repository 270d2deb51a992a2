"""The studies that ship, as their files say but smaller: made, rehearsed, rated, read, validated, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.study_world import World, judged_run, mark_all
from panels import Clock, favouring, rate_all
from sqlalchemy import Engine
from stories import EXPERIMENTS

from harness.studies.studies import find_study
from harness.types import Message, PreferencePair, Prompt
from pipelines.preferences.pair_files import write_pairs

CRITERIA = ["coherence", "consistency", "fluency", "relevance"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("shipped"))


@pytest.fixture
def store(world: World) -> Iterator[Engine]:
    engine = world.engine()
    yield engine
    engine.dispose()


def smaller(world: World, name: str, *, prompts: int, attention: int) -> Path:
    """A shipped study with nothing but its numbers changed."""
    shipped = yaml.safe_load((EXPERIMENTS / name).read_text(encoding="utf-8"))
    file: Path = world.folder / name
    file.write_text(yaml.safe_dump({**shipped, "target": {"prompts": prompts}, "attention": attention}))
    return file


def tokens_of(made: Any) -> list[str]:
    return [link["url"].partition("=")[2] for link in made["links"]]


def rehearsal(world: World, study: str) -> str:
    return str(world.run("study", "link", study, "me", "--rehearsal", "--json").json["url"].partition("=")[2])


def test_three_people_mark_every_reply_against_a_judge(world: World, store: Engine, tmp_path: Path) -> None:
    """cross_evaluator.yaml takes the newest evaluation: three raters × two variants of each prompt × four criteria."""
    files = (world.folder / "base.jsonl", world.folder / "sft.jsonl")
    world.run("compare", *files, "--data", world.folder / "test.jsonl", "--base", world.base, "--prompts", 60, "--json")
    made = world.run("study", "create", smaller(world, "cross_evaluator.yaml", prompts=10, attention=2), "--json").json
    study = find_study(store, made["study"])
    assert (study.kind, study.split, len(made["links"])) == ("likert", "test", 3)
    assert [c.name for c in study.criteria] == CRITERIA

    judge = judged_run(world, bias=0.5, criteria=CRITERIA)
    mark_all(store, [rehearsal(world, study.name)])
    refused = world.run("judge", "validate", study.name, "--scores", judge)
    assert (refused.code, "that count" in refused.stderr) == (2, True)  # a rehearsal is nobody's mark
    assert "0 ratings count" in world.run("study", "status", study.name).stdout

    mark_all(store, tokens_of(made))
    found = world.run("study", "status", study.name, "--json").json
    assert found["n_rated"] == 3 * 20
    assert [m["criterion"] for m in found["marks"]] == CRITERIA
    validated = world.run("judge", "validate", study.name, "--scores", judge, "--json").json
    assert [c["criterion"] for c in validated["criteria"]] == CRITERIA
    for criterion in validated["criteria"]:
        marks = criterion["marks"]
        assert marks["annotators"] is None  # twenty replies are fewer than the test needs
        assert ["30 items" in why for why in marks["why_not"]] == [True]
        assert marks["bias"]["bias"]["value"] == pytest.approx(0.5, abs=0.25)  # the judge was made half a point kind
        (contrast,) = criterion["contrasts"]
        assert contrast["powered"]["test"]["estimate"]["n"] == 60
    ratings = tmp_path / "ratings.jsonl"
    world.run("study", "export", study.name, "--out", ratings)
    rows = [json.loads(line) for line in ratings.read_text().splitlines()]
    assert {tuple(sorted(row["marks"])) for row in rows} == {tuple(CRITERIA)}
    assert sum(row["is_rehearsal"] for row in rows) == len(rows) / 4  # one of four raters rehearsed


def test_people_audit_preference_pairs(world: World, store: Engine, tmp_path: Path) -> None:
    """preference_audit.yaml takes the file that `pairs build` writes, put beside it."""
    pairs = [
        PreferencePair(
            prompt=Prompt(
                id=f"t{i}", messages=(Message(role="user", content=f"Where to, {i}?"),), split="train",
                cluster=f"film-{i % 5}", reference=f"over the hill to the town and on to {i}",
            ),
            chosen=f"the long way round to {i}", rejected=f"to {i}", margin=0.5, preferred_by="made@1", reason="",
        )
        for i in range(14)
    ]  # fmt: skip
    write_pairs(world.folder, pairs, system="Speak.")
    made = world.run("study", "create", smaller(world, "preference_audit.yaml", prompts=10, attention=3), "--json").json
    study = find_study(store, made["study"])
    assert (study.kind, study.split) == ("audit", "train")
    clock = Clock(step=3.0)
    rate_all(store, rehearsal(world, study.name), favouring("rejected"), clock=clock)
    (pair,) = world.run("study", "status", study.name, "--json").json["pairs"]
    assert pair["look"]["estimate"]["n"] == 0
    for token in tokens_of(made):
        assert rate_all(store, token, favouring("chosen"), clock=clock) == 2 + 10 + 1 + 3
    found = world.run("study", "status", study.name, "--json").json
    (pair,) = found["pairs"]
    assert (pair["variant"], pair["opponent"], pair["look"]["estimate"]["value"]) == ("chosen", "rejected", 1.0)
    assert found["n_test_looks"] is None  # TRAIN
    votes = world.run(
        "study", "export", study.name, "--format", "votes", "--out", tmp_path / "votes.csv", "--json"
    ).json
    assert votes["rows"] == 3 * 10
    refused = world.run("study", "export", study.name, "--format", "preferences", "--out", tmp_path / "pairs.jsonl")
    assert (refused.code, "kind audit" in refused.stderr) == (2, True), refused.stderr
