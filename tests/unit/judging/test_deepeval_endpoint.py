"""A deepeval metric on an endpoint: asked through our client, weighted or raw as declared, missing where it must be."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeServer
from faulty_server import SHARE, Fault, FaultyServer, digit_of
from nouns import item
from stories import EXPERIMENTS

from harness.errors import ConfigError, JudgeError
from harness.judging import build_judge, judge_id, load_judge_spec
from harness.judging.deepeval.metric_judge import DeepevalJudge
from harness.judging.judge_builder import resolve_mode
from harness.judging.spec import JudgeSpec
from harness.models.cache import AnswerCache
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.store.database import open_database
from harness.types import JudgedItem

if importlib.util.find_spec("deepeval") is None:  # not importorskip, whose import would be a loud one
    pytest.skip("the extra `deepeval` is not installed", allow_module_level=True)

SHIPPED = EXPERIMENTS / "judges" / "embedded-deepeval"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer(lambda body, n: writes(body)) as server:
        yield server


def writes(body: dict[str, Any], **parts: Any) -> Fault:
    """The JSON object that GEval asks for, with the score that the server's rule names."""
    said = {"reason": "It takes up the 3 questions.", "score": digit_of(body["messages"][-1]["content"])} | parts
    return Fault(kind="says", message=json.dumps(said))


def spec(server: FaultyServer, *, mode: str = "logprobs", metric: str = "GEval", **settings: Any) -> JudgeSpec:
    shipped = load_judge_spec(SHIPPED)
    data = shipped.model_dump(by_alias=True, exclude_unset=True) | {
        "criteria": shipped.criteria,
        "mode": mode,
        "model": {"endpoint": server.url, "name": "m"},
        "deepeval": {"metric": metric, "settings": settings},
    }
    return JudgeSpec.model_validate(data)


def judge(server: FaultyServer, folder: Path | None = None, *, retries: int = 0, **options: Any) -> DeepevalJudge:
    client = ChatClient(url=server.url, model="m", max_retries=retries, timeout_s=5.0)
    store = None if folder is None else AnswerCache(open_database(f"sqlite:///{folder / 'calls.db'}"), "endpoint")
    built = build_judge(spec(server, **options), queue=RequestQueue(client, purpose="d", cache=store))
    assert isinstance(built, DeepevalJudge)
    return built


def items(n: int = 1) -> list[JudgedItem]:
    return [item(f"It sank, {i}.", id=f"i{i}") for i in range(n)]


def weighted(digit: int) -> float:
    """GEval on 0…10: Σ p(s)·s over the digits with 1 % or more, divided by 10."""
    other = 1 if digit != 1 else 2
    return (SHARE * digit + 0.1 * other) / (SHARE + 0.1) / 10


def test_a_score_is_weighted_by_the_endpoints_log_probabilities(server: FaultyServer) -> None:
    scores = judge(server).score(items(5))
    digits = [digit_of(body["messages"][-1]["content"]) for body in server.sent]
    assert sorted(s.value or 0.0 for s in scores) == pytest.approx(sorted(weighted(d) for d in digits))
    assert {(s.status, s.mode) for s in scores} == {("ok", "weighted")}
    assert {round(s.mass or 0.0, 6) for s in scores} == {0.9}
    body = server.sent[0]
    assert (body["logprobs"], body["top_logprobs"], body["temperature"], body["max_tokens"]) == (True, 20, 0, 256)


def test_a_raw_judge_asks_for_no_log_probabilities_and_is_another_judge(server: FaultyServer) -> None:
    (score,) = judge(server, mode="deepeval").score(items())
    assert (score.mode, score.probabilities) == ("raw", None)
    assert score.value == digit_of(server.sent[0]["messages"][-1]["content"]) / 10
    assert "logprobs" not in server.sent[0]
    assert judge_id(spec(server, mode="deepeval")) != judge_id(spec(server, mode="logprobs"))


def test_auto_is_decided_by_what_the_endpoint_gives(server: FaultyServer) -> None:
    for n, mode in ((20, "logprobs"), (5, "logprobs"), (0, "deepeval")):
        resolved = resolve_mode(spec(server, mode="auto"), server=partial(FakeServer, n=n, begun="prefix"))
        assert (resolved.mode, resolved.forced_by) == (mode, None)
        assert (judge_id(resolved) == judge_id(spec(server, mode=mode))) == (n != 5)
    with pytest.raises(JudgeError, match="resolved before the id"):
        judge(server, mode="auto")


def test_all_first_calls_go_out_together_and_are_asked_once(server: FaultyServer, tmp_path: Path) -> None:
    server.latency = 0.1
    scores = judge(server, tmp_path).score(items(12))
    assert server.most_in_flight > 4
    assert len(server.sent) == 12
    assert judge(server, tmp_path).score(items(12)) == scores
    assert len(server.sent) == 12


def test_what_it_would_ask_is_known_before_anything_is_sent(server: FaultyServer) -> None:
    asked = judge(server)
    calls = asked.calls([*items(3), item("", id="empty")])
    assert server.sent == []
    asked.score(items(3))
    assert sorted(json.dumps(dict(c.body), sort_keys=True) for c in calls) == sorted(
        json.dumps(body, sort_keys=True) for body in server.sent
    )


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (Fault(kind="refusal"), "refused", "refused to answer"),
        (Fault(kind="filter"), "refused", "refused to answer"),
        (Fault(kind="not_json"), "failed", "not JSON"),
        (Fault(kind="status", status=500), "failed", "status 500"),
        (Fault(kind="prose"), "unparsable", "not what the metric reads"),
        (Fault(kind="length"), "truncated", "was cut off"),
        (Fault(kind="no_logprobs"), "unparsable", "not what the metric reads"),
        (Fault(kind="says", message='{"reason": "r", "score": 10}'), "unparsable", "fell back to its unweighted score"),
    ],
)
def test_every_fault_is_a_missing_score(server: FaultyServer, fault: Fault, status: str, reason: str) -> None:
    server.behave = lambda body, n: fault
    (score,) = judge(server).score(items())
    assert (score.value, score.status) == (None, status)
    assert re.search(reason, score.reason)


def test_modes_that_an_endpoint_cannot_have_are_refused(server: FaultyServer) -> None:
    for mode in ("exact", "sampled", "likelihood"):
        with pytest.raises(
            ValueError, match="`mode` of a deepeval judge on an endpoint must be logprobs, deepeval, auto"
        ):
            spec(server, mode=mode)
    with pytest.raises(JudgeError, match="got no request queue"):
        build_judge(spec(server))
    with pytest.raises(ConfigError, match="must be a class of deepeval"):
        judge(server, metric="NoSuchMetric")
