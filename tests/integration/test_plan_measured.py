"""What `screentest plan` foretells from a small run, held against larger ones that were really run.

The judge is a real endpoint: a `screentest serve` on the same tiny model, which counts its tokens.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from fakes import tiny_checkpoint
from servers import running
from sqlalchemy import text
from stories import EXPERIMENTS, fresh_home, screentest

from harness.models.bases import resolve_base
from harness.models.cache import AnswerCache
from harness.models.local import LocalModel
from harness.reporting.finished_reports import record_of
from harness.serving.model_names import Variants
from harness.settings import Settings
from harness.store.database import open_database
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow

CRITERIA = ("coherence", "fluency")
PRICE = {"input": 2.0, "output": 8.0}
SMALL, LARGE = (16, 4), (32, 5)  # prompts and draws


class World:
    """A home, test prompts, a judge behind an endpoint, and evaluations of any size."""

    def __init__(self, folder: Path, url: str, base: Path, other: Path) -> None:
        self.folder, self.base, self.other = folder, base, other
        self.home = fresh_home(folder / "home")
        self.tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(self.home)}))
        self.data = folder / "test.jsonl"
        # Two bases, and ids whose chance gives no reply that is empty or equal to another: no judge is asked about
        # those, and a plan cannot know of them.
        rows = [
            {
                "id": f"a{i % 8}-{i}", "cluster": f"f{i % 8}",
                "prompt": f"Where did {i} boats go?", "completion": f"To {i}.",
            }
            for i in range(LARGE[0])
        ]  # fmt: skip
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.judge = folder / "judge"
        shutil.copytree(EXPERIMENTS / "judges" / "self-hosted", self.judge)
        spec = yaml.safe_load((self.judge / "judge.yaml").read_text())
        spec |= {"name": "served", "mode": "logprobs", "criteria": [f"{name}.yaml" for name in CRITERIA]}
        # The model has 512 positions, and hardly more to a token than a byte.
        (self.judge / "prompt.txt").write_text("$criterion $definition $steps $low-$high\n$conversation\n$reply")
        for name in CRITERIA:
            short = {"name": name, "definition": "Good?", "steps": ["Read."], "scale": [1, 5]}
            (self.judge / f"{name}.yaml").write_text(yaml.safe_dump(short))
        spec |= {"model": {"endpoint": f"{url}/v1", "name": "base"}, "qualification": {"n_controls": 2}}
        spec["runtime"] = {"usd_per_million_tokens": PRICE}
        for key in ("n_draws", "temperature"):
            spec.pop(key, None)
        (self.judge / "judge.yaml").write_text(yaml.safe_dump(spec))

    def evaluate(self, n_prompts: int, n_draws: int) -> str:
        """Run an evaluation; gives the run that holds its record."""
        measured = {"judge": str(self.judge), "better": "higher", "smallest_effect": {"value": 0.5, "unit": "points"}}
        design = {
            "schema": 1,
            "name": f"size-{n_prompts}-{n_draws}",
            "question": "Does a plan hold?",
            "variants": {"base": {"model": str(self.base)}, "other": {"model": str(self.other)}},
            "control": "base",
            "data": {"file": str(self.data), "prompts": n_prompts},
            "decoding": {"max_new_tokens": 12, "temperature": 0.8, "n_draws": n_draws},
            "measures": {"cut_off": {"smallest_effect": {"value": 0.05, "unit": "share"}}}
            | {name: measured for name in CRITERIA},
            "contrasts": [{"name": "other-base", "arms": ["other", "base"]}],
            "family": {"measures": ["cut_off"]},
            "controls": 2,
        }
        file = self.folder / f"{design['name']}.yaml"
        file.write_text(yaml.safe_dump(design))
        ran = screentest("evaluate", file, "--json", home=self.home)
        assert ran.code == 0, ran.stderr
        return str(ran.json["run_id"])

    def plan(self, run: str, n_prompts: int, n_draws: int) -> dict[str, dict[str, Any]]:
        """What the command foretells."""
        size = ("--prompts", n_prompts, "--variants", 2, "--seeds", n_draws, "--criteria", len(CRITERIA))
        shown = screentest("plan", *size, "--judge", self.judge, "--from", run, "--json", home=self.home).json
        return {need["what"].split()[0]: need for need in shown["needs"]}

    def found(self, run: str, stages: tuple[str, ...], files: tuple[str, ...]) -> dict[str, float]:
        """What the stages of a run really took and left."""
        record = record_of(self.tracking, run)
        lines = {line.run_id: line for line in record.stages if line.name in stages}.values()
        metrics = [self.tracking.client.get_run(line.run_id).data.metrics for line in lines]
        folders = [self.tracking.folder(line.run_id) for line in lines]
        return {
            "n_calls": sum(m["calls"] for m in metrics),
            "tokens_read": sum(m["tokens_read"] for m in metrics),
            "tokens_generated": sum(m["tokens_generated"] for m in metrics),
            "n_rows": sum(pq.read_metadata(folder / files[0]).num_rows for folder in folders),
            "file_megabytes": sum((folder / file).stat().st_size for folder in folders for file in files) / 1e6,
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("plan")
    checkpoint = tiny_checkpoint(folder / "base")
    base = resolve_base(str(checkpoint))
    empty = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(fresh_home(folder / "served"))}))
    with running(LocalModel.load(base), Variants(empty, base, names=("base",))) as server:
        yield World(folder, server.url, checkpoint, tiny_checkpoint(folder / "other", seed=1))


def test_a_small_run_foretells_itself_exactly_and_a_larger_one_closely(world: World) -> None:
    small = world.evaluate(*SMALL)
    itself = world.plan(small, *SMALL)
    replies = world.found(small, ("generate",), ("generations.parquet",))
    scores = world.found(small, ("judge",), ("scores.parquet", "judge_scores.json"))
    for part, real in (("replies", replies), ("scores", scores)):
        exact = ("n_calls", "n_rows", "tokens_read", "tokens_generated")
        assert [itself[part][key] for key in exact] == [real[key] for key in exact]
        assert itself[part]["file_megabytes"] == pytest.approx(real["file_megabytes"])
    assert itself["replies"]["hours"] > 0
    assert itself["scores"]["usd"] == pytest.approx(
        (PRICE["input"] * scores["tokens_read"] + PRICE["output"] * scores["tokens_generated"]) / 1e6
    )

    foretold = world.plan(small, *LARGE)
    large = world.evaluate(*LARGE)
    replies = world.found(large, ("generate",), ("generations.parquet",))
    scores = world.found(large, ("judge",), ("scores.parquet", "judge_scores.json"))
    for part, real in (("replies", replies), ("scores", scores)):
        off = {key: foretold[part][key] / value - 1 for key, value in real.items()}
        print(f"{part}: foretold against found, off by {off}")
        assert off["n_calls"] == off["n_rows"] == 0
        assert abs(off["tokens_read"]) < 0.02
        assert abs(off["tokens_generated"]) < 0.05
        assert abs(off["file_megabytes"]) < 0.10
    # The store's file also holds an index, times and the ledger: it is larger than the answers that were foretold.
    engine = open_database(f"sqlite:///{world.home / 'screentest.db'}")
    mean = AnswerCache(engine, "endpoint").mean_bytes()
    with engine.connect() as connection:
        n_answers = connection.execute(text("SELECT count(*) FROM endpoint_answers")).scalar_one()
    engine.dispose()
    assert mean is not None
    with contextlib.closing(sqlite3.connect(world.home / "screentest.db")) as whole:
        # Pages and not the file's size: what was written lately is in a file beside it.
        n_pages, page_bytes = (whole.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    share = n_answers * mean / (n_pages * page_bytes)
    print(f"answers of {mean:.0f} bytes are {share:.2f} of the store's file")
    assert 0.5 < share < 1
