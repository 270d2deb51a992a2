"""A small world for studies: prompts, two files of replies, a judge's scores and raters with an opinion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import yaml
from fakes import tiny_checkpoint
from panels import Clock, hidden
from sqlalchemy import Engine
from stories import Ran, fresh_home, screentest

import pipelines  # noqa: F401  # declares the stages
from harness.experiment.measured_arms import SCORES
from harness.experiment.session import OnProgress, Session
from harness.judging.scored import ScoredGeneration
from harness.settings import Settings
from harness.store.artifacts import write_parquet
from harness.store.database import open_database
from harness.store.tracking import Stage, Tracking
from harness.studies.casting import Cast, cast_rating
from harness.studies.items import SHUFFLED
from harness.studies.serving import RatingTask, next_task

FILMS, PER_FILM = 12, 5
SPOKEN = "we were never going to make it to the coast before the rain began again that night"
WORDS = SPOKEN.split()


class World:
    """A folder with prompts, two files of replies and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = fresh_home(folder / "home")
        self.base = tiny_checkpoint(folder / "base")
        rows = [
            {"id": f"f{f}-{i}", "cluster": f"film-{f}", "prompt": f"What of it, {f} {i}?",
             "completion": " ".join(WORDS[(f + i) % 6 :]) + f" {f} {i}."}
            for f in range(FILMS)
            for i in range(PER_FILM)
        ]  # fmt: skip
        self.write("test.jsonl", rows)
        source = {"data": "test.jsonl", "base": str(self.base)}
        ids = self.prompt_ids(source)
        for variant in ("sft", "base"):
            self.write(f"{variant}.jsonl", [{"prompt_id": p, "text": f"{variant} to {p}"} for p in ids])
        self.ids = ids
        self.source = {**source, "generations": {"sft": "sft.jsonl", "base": "base.jsonl"}}

    def prompt_ids(self, source: dict[str, Any]) -> list[str]:
        from harness.experiment.design import DataDesign
        from harness.experiment.preparing import prepare, prompts_of

        data = DataDesign(file=str(self.folder / source["data"]))
        base = {"source": source["base"], "revision": None}
        return [p.id for p in prompts_of(prepare(self.session(), data, base=base), "test")]

    def session(self) -> Session:
        return Session(tracking=Tracking(Settings.from_environment({"SCREENTEST_HOME": str(self.home)})))

    def engine(self) -> Engine:
        return open_database(Settings.from_environment({"SCREENTEST_HOME": str(self.home)}).database_url)

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def study(self, name: str, **changes: Any) -> Path:
        data = {
            "schema": 1, "name": name, "question": "Which line belongs here?", "kind": "pairwise",
            "source": self.source, "variants": ["sft", "base"], "target": {"prompts": 20}, "attention": 2,
            "exclusion": {"min_seconds": None}, **changes,
        }  # fmt: skip
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(data))
        return file

    def run(self, *words: object) -> Ran:
        return screentest(*words, home=self.home)

    def create(self, name: str, **changes: Any) -> list[str]:
        """Make a study; returns the raters' tokens."""
        made = self.run("study", "create", self.study(name, **changes), "--json").json
        return [parse_qs(urlparse(link["url"]).query)["rater"][0] for link in made["links"]]


def quality(prompt: str, variant: str) -> float:
    """What a reply is worth, on the scale of marks: sft a point better, prompts of all kinds."""
    number = int(prompt.rsplit("-", 1)[-1]) if prompt.rsplit("-", 1)[-1].isdigit() else len(prompt)
    return 2.0 + (number % 3) * 0.5 + (variant == "sft")


def judged_run(
    world: World,
    *,
    bias: float = 0.0,
    mode: str = "exact",
    noise: float = 0.3,
    criteria: Sequence[str] = ("fluency", "relevance"),
) -> str:
    """A judging stage whose scores are the quality, shifted and blurred."""
    rng = np.random.default_rng(5)
    rows = [
        ScoredGeneration(
            prompt_id=p, variant=v, draw=0, cluster=p.partition("-")[0], criterion=criterion, judge_id="made@1",
            value=float(np.clip(quality(p, v) + bias + rng.normal(0, noise), 1, 5)), status="ok", probabilities=None,
            mass=None, entropy=None, total=None, n_tokens=None, mode=mode, reason="", item_id=f"{p} {v}",
        )
        for p in world.ids for v in ("sft", "base") for criterion in criteria
    ]  # fmt: skip
    session = world.session()
    config = {"bias": bias, "mode": mode, "noise": noise, "criteria": list(criteria)}

    def work(stage: Stage, on_progress: OnProgress) -> None:
        write_parquet(stage.folder / SCORES, rows, ScoredGeneration)

    return session.stage("judge", label="Judge", revision=1, config=config, inputs={}, work=work).run_id


def mark_all(store: Engine, tokens: list[str]) -> None:
    clock = Clock(step=3.0)
    for number, token in enumerate(tokens):
        rng = np.random.default_rng(number)
        while isinstance(task := next_task(store, token, clock=clock), RatingTask):
            row = hidden(store, task.slot)
            variant = row.replies[0]["variant"]
            value = 1.0 if variant == SHUFFLED else quality(row.prompt_id, variant) + rng.normal(0, 0.4)
            marks = {s.name: int(np.clip(np.rint(value), 1, 5)) for s in task.criteria}
            cast_rating(store, token, Cast(key=task.slot, action="vote", slot=task.slot, marks=marks), clock=clock)
