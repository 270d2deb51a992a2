"""Judging through an endpoint against what its latency allows, and what cache and ledger cost.

`pytest tests/benchmarks/test_endpoint_speed.py -s` prints the figures. The server is real, in a process of its own on
this machine, and takes 0.2 seconds for every answer.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from harness.judging import build_judge, load_judge_spec
from harness.judging.methods.geval import GEvalJudge
from harness.models.cache import AnswerCache, Charge
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.store.database import open_database
from harness.types import JsonObject, JudgedItem, Message

pytestmark = pytest.mark.slow

JUDGE = Path(__file__).resolve().parents[2] / "experiments" / "judges" / "gpt-4o-mini"
LATENCY = 0.2
IN_FLIGHT = 32
N_ITEMS = 800  # times four criteria: 20 seconds at 160 calls a second
SHARE_OF_POSSIBLE = 0.9
CACHE_SECONDS_A_CALL = 0.002
WARM_SCORES_A_SECOND = 10_000


class TimedCache(AnswerCache):
    """Adds up the time that writing takes."""

    seconds = 0.0
    n_written = 0

    def write(self, answers: Mapping[str, JsonObject], charges: Sequence[Charge] = ()) -> None:
        began = time.perf_counter()
        super().write(answers, charges)
        self.seconds += time.perf_counter() - began
        self.n_written += len(charges)


@contextlib.contextmanager
def serving(latency: float) -> Iterator[str]:
    """The address of a server that shares no interpreter with the judge."""
    script = (
        "import sys; from faulty_server import FaultyServer\n"
        f"with FaultyServer(latency={latency}) as server: print(server.url, flush=True); sys.stdin.read()"
    )
    tests = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tests
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def items(n: int) -> list[JudgedItem]:
    return [
        JudgedItem(
            id=f"i{i}",
            messages=(Message(role="user", content=f"Where is the boat, and who has seen it since {i}?"),),
            reply=f"Nobody I know of. Ask the {i} people on the quay.",
            cluster="film",
        )
        for i in range(n)
    ]


def judge(url: str, cache: AnswerCache) -> GEvalJudge:
    client = ChatClient(url=url, model="gpt-4o-mini", n_parallel=IN_FLIGHT)
    spec = load_judge_spec(JUDGE).model_copy(update={"mode": "logprobs"})
    built = build_judge(spec, queue=RequestQueue(client, purpose="benchmark", cache=cache))
    assert isinstance(built, GEvalJudge)
    return built


def test_calls_keep_up_with_the_latency_and_warm_scores_are_read_at_once(tmp_path: Path) -> None:
    cache = TimedCache(open_database(f"sqlite:///{tmp_path / 'calls.db'}"), "endpoint")
    asked = items(N_ITEMS)
    with serving(LATENCY) as url:
        began = time.perf_counter()
        cold = judge(url, cache).score(asked)
        rate = len(cold) / (time.perf_counter() - began)
        began = time.perf_counter()
        warm = judge(url, cache).score(asked)
        warm_rate = len(warm) / (time.perf_counter() - began)
    possible = IN_FLIGHT / LATENCY
    each = cache.seconds / cache.n_written
    print(
        f"\n{rate:.0f} calls/s of {possible:.0f} possible at {IN_FLIGHT} in flight: {rate / possible:.2f}"
        f"\ncache and ledger: {1000 * each:.2f} ms a call; warm: {warm_rate:,.0f} scores/s"
    )
    assert cache.total().n_calls == len(cold)
    assert warm == cold
    assert {s.status for s in cold} == {"ok"}
    assert rate >= SHARE_OF_POSSIBLE * possible
    assert each < CACHE_SECONDS_A_CALL
    assert warm_rate >= WARM_SCORES_A_SECOND
