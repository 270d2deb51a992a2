"""A judge behind a bad line: a fifth of the calls fail, and the process is killed, again and again."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faulty_server import Fault, FaultyServer, expected_score
from stories import REPOSITORY, environment

from harness.judging import build_judge, load_judge_spec
from harness.judging.methods.geval import GEvalJudge
from harness.models.cache import AnswerCache
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.store.database import open_database
from harness.types import JudgedItem, Message, Score

pytestmark = pytest.mark.slow

JUDGE = REPOSITORY / "experiments" / "judges" / "gpt-4o-mini"
N_PARALLEL = 4
FAULTS = (
    Fault(kind="status", status=429),
    Fault(kind="status", status=429, headers={"retry-after-ms": "20"}),
    Fault(kind="status", status=500),
    Fault(kind="status", status=503),
    Fault(kind="reset"),
    Fault(kind="cut"),
    Fault(kind="not_json"),
    Fault(kind="empty_choices"),
)


def judge(url: str, database: Path, *, n_parallel: int) -> GEvalJudge:
    client = ChatClient(url=url, model="gpt-4o-mini", n_parallel=n_parallel)
    queue = RequestQueue(client, purpose="test", cache=AnswerCache(open_database(f"sqlite:///{database}"), "endpoint"))
    built = build_judge(load_judge_spec(JUDGE).model_copy(update={"mode": "logprobs"}), queue=queue)
    assert isinstance(built, GEvalJudge)
    return built


def items(n: int) -> list[JudgedItem]:
    said = (Message(role="user", content="Where is the boat?"),)
    return [JudgedItem(id=f"i{i}", messages=said, reply=f"Reply {i}.", cluster=f"film-{i % 7}") for i in range(n)]


def table(scores: list[Score]) -> list[list[Any]]:
    return [[s.item_id, s.criterion, s.value, s.status, s.mass] for s in scores]


def test_a_fifth_of_all_calls_may_fail_and_no_score_is_missing(tmp_path: Path) -> None:
    rng, lock = random.Random(0), threading.Lock()

    def behave(body: dict[str, Any], n: int) -> Fault | None:
        with lock:
            return rng.choice(FAULTS) if rng.random() < 0.2 else None

    with FaultyServer(behave) as server:
        scorer = judge(server.url, tmp_path / "calls.db", n_parallel=32)
        scores = scorer.score(items(250))
        assert len(scores) == 1000
        assert {s.status for s in scores} == {"ok"}
        said = [str(q.messages[-1]["content"]) for q in scorer.questions(items(250))]
        assert [s.value for s in scores] == pytest.approx([expected_score(text) for text in said])
        assert server.n_delivered_twice == 0
        assert sum(server.delivered.values()) == 1000
        assert len(server.sent) > 1150  # a fifth of 1,000 and of their retries really failed
        total = AnswerCache(open_database(f"sqlite:///{tmp_path / 'calls.db'}"), "endpoint").total()
        assert (total.n_calls, total.n_failed, total.n_input) == (1000, 0, 1000 * 300)


SCRIPT = """
import json, sys
from pathlib import Path
import openai.resources.chat.completions  # seconds, in which a kill would prove nothing
sys.path.insert(0, "tests")
from integration.test_judge_faults import N_PARALLEL, items, judge, table

scorer = judge(sys.argv[1], Path(sys.argv[2]), n_parallel=N_PARALLEL)
print("started", flush=True)
print(json.dumps(table(scorer.score(items(60)))), flush=True)
"""


def start(url: str, database: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(database)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(database.parent),
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_killed_five_times_it_ends_with_the_same_table_and_pays_twice_for_calls_in_flight_alone(tmp_path: Path) -> None:
    rng = random.Random(1)
    with FaultyServer(latency=0.04) as server:
        undisturbed = table(judge(server.url, tmp_path / "whole.db", n_parallel=N_PARALLEL).score(items(60)))
        assert server.n_delivered_twice == 0
        server.delivered.clear()
        for _ in range(5):
            with start(server.url, tmp_path / "killed.db") as process:
                time.sleep(rng.uniform(0.0, 0.6))
                process.send_signal(signal.SIGKILL)
        n_kept = AnswerCache(open_database(f"sqlite:///{tmp_path / 'killed.db'}"), "endpoint").total().n_calls
        assert 0 < n_kept < 240  # it got on, and the last kill was not after the end
        with start(server.url, tmp_path / "killed.db") as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == undisturbed
        assert process.returncode == 0
        assert server.n_delivered_twice <= 5 * N_PARALLEL
        total = AnswerCache(open_database(f"sqlite:///{tmp_path / 'killed.db'}"), "endpoint").total()
        assert total.n_calls == 240  # every answer that was kept was charged once
