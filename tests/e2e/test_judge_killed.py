"""`screentest judge run` killed with SIGKILL: it ends with an undisturbed run's table."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, text
from stories import EXPERIMENTS, command, environment, fresh_home, screentest

from harness.judging.scored import ScoredGeneration
from harness.store.artifacts import read_parquet
from harness.store.tracking import Tracking

pytestmark = pytest.mark.slow


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

    def kill(self, judge: Path, home: Path, *, when: Callable[[], bool]) -> bool:
        """Start the command, kill it as soon as `when` holds; whether it was still at work."""
        process = subprocess.Popen(
            command(*self.words(judge)), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with process:
            while process.poll() is None and not when():
                time.sleep(0.01)
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
        Story(tmp_path, 8),
        judge_folder(tmp_path / "judge", "embedded-geval", criteria=["coherence", "fluency"]),
    )
    n_questions = 8 * 2
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
