"""`screentest judge run` killed with SIGKILL: it ends with an undisturbed run's table, and pays for nothing twice."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_server import N_PROBES, FaultyServer
from sqlalchemy import create_engine, text
from stories import EXPERIMENTS, command, environment, fresh_home, screentest

from harness.judging.results import ScoredGeneration
from harness.models.cache import AnswerCache
from harness.store.artifacts import read_parquet
from harness.store.database import open_database
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow

N_PARALLEL = 2
N_UNWRITTEN = N_PARALLEL + 1  # in flight at a kill at most, or answered and not yet written; see `ChatClient`


class Story:
    """A file of replies, and homes in which a judge scores it."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder = folder
        ids = [f"f{i % 4}-{i}" for i in range(n)]
        self.data, self.replies = folder / "test.jsonl", folder / "replies.jsonl"
        rows = [{"id": i, "cluster": i[:2], "prompt": f"Where is boat {i}?", "completion": f"Here, {i}."} for i in ids]
        said = [
            {"prompt_id": i, "text": f"Boat {i} sank {'again ' * (n % 5)}off the coast."} for n, i in enumerate(ids)
        ]
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.replies.write_text("".join(json.dumps(row) + "\n" for row in said))

    def words(self, judge: Path) -> tuple[object, ...]:
        return ("judge", "run", judge, "--generations", self.replies, "--data", self.data, "--json")

    def kill(self, judge: Path, home: Path, *, when: Callable[[], bool], wait: float = 0.0) -> bool:
        """Start the command, kill it so long after `when` first holds; whether it was still at work."""
        process = subprocess.Popen(
            command(*self.words(judge)), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with process:
            while process.poll() is None and not when():
                time.sleep(0.01)
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        return process.returncode == -signal.SIGKILL


def table(home: Path, run_id: str) -> list[ScoredGeneration]:
    from harness.settings import Settings

    folder = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)})).folder(run_id)
    return read_parquet(folder / "scores.parquet", ScoredGeneration)


def n_answers(home: Path) -> int:
    """Answers of local models that stand; 0 where there is no store yet."""
    if not (home / "screentest.db").is_file():
        return 0
    engine = create_engine(f"sqlite:///{home / 'screentest.db'}")
    with engine.connect() as connection:
        has_table = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'local_answers'")).scalar()
        found = connection.execute(text("SELECT count(*) FROM local_answers")).scalar() if has_table else 0
    engine.dispose()
    return int(found or 0)


def judge_folder(folder: Path, shipped: str, **changes: Any) -> Path:
    shutil.copytree(EXPERIMENTS / "judges" / shipped, folder)
    data: dict[str, Any] = yaml.safe_load((folder / "judge.yaml").read_text())
    (folder / "judge.yaml").write_text(yaml.safe_dump(data | changes))
    return folder


@pytest.mark.model
def test_a_local_judge_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    story, judge = (
        Story(tmp_path, 16),
        judge_folder(tmp_path / "judge", "embedded-geval", criteria=["coherence", "fluency"]),
    )
    n_questions = 16 * 2
    whole = fresh_home(tmp_path / "whole")
    undisturbed = screentest(*story.words(judge), home=whole).json

    home = fresh_home(tmp_path / "killed")
    assert story.kill(judge, home, when=lambda: n_answers(home) > 1)  # 1 is the question at start-up
    n_before = n_answers(home) - 1
    assert 0 < n_before < n_questions
    ran = screentest(*story.words(judge), home=home)
    assert f"{n_before} of {n_questions} answers of embedded stand already" in ran.stderr
    assert n_answers(home) - 1 == n_questions
    assert ran.json["estimates"] == undisturbed["estimates"]
    assert table(home, ran.json["run_id"]) == table(whole, undisturbed["run_id"])

    again = screentest(*story.words(judge), "--force", home=home)
    assert f"{n_questions} of {n_questions} answers of embedded stand already" in again.stderr
    assert table(home, again.json["run_id"]) == table(whole, undisturbed["run_id"])


def test_a_judge_behind_an_endpoint_is_killed_at_random_moments_and_no_call_is_charged_twice(tmp_path: Path) -> None:
    rng, n_kills, n_calls = random.Random(4), 4, 30 * 4
    with FaultyServer(latency=0.05) as server:
        story, price = Story(tmp_path, 30), {"input": 1.0, "output": 2.0}
        judge = judge_folder(
            tmp_path / "judge",
            "gpt-4o-mini",
            mode="logprobs",
            model={"endpoint": server.url, "name": "m"},
            runtime={"usd_per_million_tokens": price, "n_parallel": N_PARALLEL},
        )
        whole = fresh_home(tmp_path / "whole")
        undisturbed = screentest(*story.words(judge), home=whole).json
        assert sum(server.delivered.values()) == n_calls + N_PROBES
        server.delivered.clear()

        home = fresh_home(tmp_path / "killed")
        screentest("doctor", "--endpoint", f"{server.url}#m", home=home)
        n_probes = N_PROBES + 2  # doctor asks for several replies and for JSON too
        for _ in range(n_kills):
            n_sent = len(server.sent)
            assert story.kill(
                judge, home, when=lambda n_sent=n_sent: len(server.sent) > n_sent, wait=rng.uniform(0.0, 0.5)
            )
        ledger = AnswerCache(open_database(f"sqlite:///{home / 'screentest.db'}"), "endpoint")
        n_before = ledger.total().n_calls - n_probes
        assert 0 < n_before < n_calls

        n_sent = len(server.sent)
        done = screentest(*story.words(judge), home=home).json
        assert len(server.sent) - n_sent == n_calls - n_before  # the rest and nothing else
        assert done["estimates"] == undisturbed["estimates"]
        assert table(home, done["run_id"]) == table(whole, undisturbed["run_id"])
        assert ledger.total().n_calls - n_probes == n_calls  # each answer in the ledger once
        assert ledger.total().usd == pytest.approx(n_calls * 302e-6)
        assert server.n_delivered_twice <= n_kills * N_UNWRITTEN
