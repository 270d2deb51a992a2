"""Reading through an endpoint: each step by itself, and every fault of a real server to its score or its status."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from certain import sure
from fakes import UniformModel
from faulty_server import Behave, Fault, FaultyServer, Kind, answer, digit_of, expected_score
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from nouns import item
from stories import EXPERIMENTS

from harness.errors import UnavailableError
from harness.judging import load_judge_spec
from harness.judging.methods.geval import METHOD, GEvalJudge
from harness.judging.remote_reading import EndpointReader, parse_draws, parse_logprobs
from harness.models.cache import AnswerCache
from harness.models.endpoint.calls import ChatResult
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import OptionRequest
from harness.store.database import open_database
from harness.types import JudgedItem, Score

SPEC = load_judge_spec(EXPERIMENTS / "judges" / "embedded-geval")
REQUEST = OptionRequest(
    key="k",
    messages=[{"role": "user", "content": "Rate this."}],
    prefix="Score: ",
    options=("1", "2", "3", "4", "5"),
)
LETTERS = OptionRequest(key="k", messages=[], prefix="Verdict:\n", options=("A", "B", "C"))
NO_QUEUE = RequestQueue(ChatClient(url="http://127.0.0.1:9", model="m"), purpose="test")  # where nothing is sent
Serve = Callable[..., FaultyServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[FaultyServer] = []

    def start(behave: Behave = lambda body, n: None, **options: Any) -> FaultyServer:
        running.append(FaultyServer(behave, **options).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


def queue(server: FaultyServer, *, cache: AnswerCache | None = None, **options: Any) -> RequestQueue:
    settings = {"timeout_s": 5.0, "max_retries": 3} | options
    return RequestQueue(ChatClient(url=server.url, model="m", **settings), purpose="test", cache=cache)


def judge(reader: EndpointReader) -> GEvalJudge:
    built = METHOD.build(SPEC, "j@0", UniformModel())
    assert isinstance(built, GEvalJudge)
    return replace(built, reader=reader, criteria=built.criteria[:1])


def by_logprobs(server: FaultyServer, **options: Any) -> GEvalJudge:
    return judge(EndpointReader(queue=queue(server, **options), model="m", top_logprobs=20))


def by_draws(server: FaultyServer, *, n_draws: int = 3, **options: Any) -> GEvalJudge:
    return judge(EndpointReader(queue=queue(server, **options), model="m", n_draws=n_draws, temperature=1.0))


def items(*replies: str) -> list[JudgedItem]:
    return [item(reply, id=f"i{n}") for n, reply in enumerate(replies)]


def text_of(scorer: GEvalJudge, item: JudgedItem) -> str:
    return str(scorer.questions([item])[0].messages[-1]["content"])


def result(kind: str = "", **changed: Any) -> ChatResult:
    """What a call gives when the server answers so."""
    (call,) = EndpointReader(queue=NO_QUEUE, model="m", top_logprobs=5).calls([REQUEST])
    found = answer(dict(call.body), kind)
    found["choices"][0] |= changed
    return ChatResult(answer=found)


# ── call ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_draws_differ_in_seed_and_key_and_repeat_exactly() -> None:
    reader = EndpointReader(queue=NO_QUEUE, model="m", n_draws=3, temperature=0.7)
    calls = reader.calls([REQUEST])
    assert len({c.key("http://x") for c in calls}) == 3
    assert len({c.body["seed"] for c in calls}) == 3
    assert calls == reader.calls([REQUEST])
    assert calls[0].key("http://x") != calls[0].key("http://y")


# ── parse: logprobs ──────────────────────────────────────────────────────────────────────────────────────────────────


def listed(*positions: dict[str, float]) -> ChatResult:
    """An answer of tokens, each position with the likeliest ones."""
    told = [[{"token": token, "logprob": math.log(p)} for token, p in tops.items()] for tops in positions]
    return result(logprobs={"content": [{**tops[0], "top_logprobs": tops} for tops in told]})


def test_the_distribution_is_that_of_the_listed_score_tokens() -> None:
    # 0.8 on the digit and 0.1 on another, 0.05 on a word: mass 0.9, shares 8/9 and 1/9.
    found = sure(parse_logprobs(result(), REQUEST).answer)
    digit = digit_of("Rate this.")
    p = dict(zip("12345", found.probabilities, strict=True))
    assert found.mass == pytest.approx(0.9)
    assert p[str(digit)] == pytest.approx(8 / 9 if digit != 1 else 1.0)
    assert math.fsum(p.values()) == pytest.approx(1.0)


def test_ways_to_write_one_score_are_added_up() -> None:
    found = sure(parse_logprobs(listed({"4": 0.3, " 4": 0.3, "4\n": 0.3}), REQUEST).answer)
    assert (found.mass, found.entropy) == pytest.approx((0.9, 0))
    assert found.probabilities == pytest.approx((0, 0, 0, 1, 0))


def test_a_repeated_prefix_is_stepped_over() -> None:
    assert parse_logprobs(result("prefix"), REQUEST) == parse_logprobs(result(), REQUEST)


@pytest.mark.parametrize("begins", [(), ("Verdict", ":", "\n")])
def test_letters_are_read_as_scores_are(begins: tuple[str, ...]) -> None:
    tops = {"A": 0.6, " B": 0.2, "B": 0.1, "The": 0.05}
    found = sure(parse_logprobs(listed(*({token: 0.99} for token in begins), tops), LETTERS).answer)
    assert (found.mass, *found.probabilities) == pytest.approx((0.9, 0.6 / 0.9, 0.3 / 0.9, 0.0))
    draws = [drawn(text) for text in ("A", "Verdict:\nA", "B", "A is better", "c", "AB")]
    found = sure(parse_draws(draws, LETTERS).answer)
    assert (found.mass, *found.probabilities) == pytest.approx((0.5, 2 / 3, 1 / 3, 0.0))


@pytest.mark.parametrize("tokens", [["Sc", "4"], ["4", "5"], ["**", "4"], ["Score", "4"]])
def test_only_the_position_of_the_score_counts(tokens: list[str]) -> None:
    reading = parse_logprobs(listed(*({token: 0.99} for token in tokens)), REQUEST)
    if tokens[0] == "4":
        assert sure(reading.answer).probabilities[3] == 1.0
    else:
        assert reading.answer is None


@pytest.mark.parametrize(
    ("given_result", "status"),
    [
        (result("refusal"), "refused"),
        (result("filter"), "refused"),
        (result("no_logprobs"), "unsupported"),
        (result(logprobs=None), "unsupported"),
        (result(logprobs={"content": []}), "unparsable"),
        (result(logprobs={"content": []}, finish_reason="length"), "truncated"),
        (result(logprobs={"content": ["4"]}), "unparsable"),
        (result(logprobs={"content": [{"token": 4}]}), "unparsable"),
        (result(logprobs={"content": [{"token": "4", "logprob": "high"}]}), "unparsable"),
        (result(logprobs={"content": [{"token": "4", "logprob": 3.0}]}), "unparsable"),
        (result("nan"), "unparsable"),
        (result("no_score_token"), "low_mass"),
        (ChatResult(answer=None, error="status 500"), "failed"),
    ],
)
def test_what_is_no_distribution_is_missing_with_its_status(given_result: ChatResult, status: str) -> None:
    reading = parse_logprobs(given_result, REQUEST)
    assert (reading.answer, reading.status) == (None, status)
    assert reading.reason


# ── parse: sampled ───────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(text: object, **changed: Any) -> ChatResult:
    return result(message={"role": "assistant", "content": text}, **changed)


@pytest.mark.parametrize("text", ["4", " 4\n", "Score: 4", "Score:4"])
def test_a_draw_is_a_score_and_nothing_else(text: str) -> None:
    assert sure(parse_draws([drawn(text)], REQUEST).answer).probabilities == (0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    "text", ["4.", "4/5", "The answer is 4", "44", "4 5", "６", "٤", "four", "", None, 4, "0", "-4", "Score: Score: 4"]
)
def test_anything_else_is_unreadable(text: object) -> None:
    assert parse_draws([drawn(text)], REQUEST).answer is None


def test_unreadable_draws_count_against_the_mass() -> None:
    # 3, 3, 5 of four draws: p(3) = 2/3, p(5) = 1/3, mass 3/4.
    found = sure(parse_draws([drawn("3"), drawn("I think 4"), drawn("5"), drawn("Score: 3")], REQUEST).answer)
    assert found.probabilities == pytest.approx((0, 0, 2 / 3, 0, 1 / 3))
    assert found.mass == 0.75


def test_draws_without_any_score_are_missing() -> None:
    assert parse_draws([drawn("no"), drawn("4!")], REQUEST).status == "unparsable"
    assert parse_draws([result("refusal"), result("filter")], REQUEST).status == "refused"
    lost = parse_draws([drawn("3"), ChatResult(answer=None, error="status 500")], REQUEST)
    assert (lost.answer, lost.status, lost.reason) == (None, "failed", "status 500")


@given(st.lists(st.sampled_from(["1", "2", "3", "4", "5", "x"]), min_size=1, max_size=30))
def test_the_mean_of_the_draws_is_the_score(texts: list[str]) -> None:
    reading = parse_draws([drawn(text) for text in texts], REQUEST)
    read = [int(text) for text in texts if text != "x"]
    if not read:
        assert reading.status == "unparsable"
        return
    found = sure(reading.answer)
    mean = math.fsum(p * s for p, s in zip(found.probabilities, range(1, 6), strict=True))
    assert mean == pytest.approx(sum(read) / len(read))
    assert found.mass == pytest.approx(len(read) / len(texts))


# ── together, against a server ───────────────────────────────────────────────────────────────────────────────────────


def test_scores_are_those_that_the_server_means(serve: Serve) -> None:
    server = serve()
    for scorer, mode in ((by_logprobs(server), "logprobs"), (by_draws(server), "sampled")):
        scores = scorer.score(items("It sank.", "", "Bees."))
        assert [(s.item_id, s.status) for s in scores] == [("i0", "ok"), ("i1", "empty"), ("i2", "ok")]
        assert {s.mode for s in scores} == {mode}
        for score, one in zip(scores, items("It sank.", "", "Bees."), strict=True):
            if score.value is not None:
                said = text_of(scorer, one)
                assert score.value == pytest.approx(expected_score(said) if mode == "logprobs" else digit_of(said))


def score_one(serve: Serve, behave: Behave, **options: Any) -> tuple[Score, FaultyServer]:
    server = serve(behave)
    return by_logprobs(server, **options).score(items("It sank."))[0], server


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=429),
        Fault(kind="status", status=429, headers={"Retry-After": "1"}),
        Fault(kind="status", status=429, headers={"retry-after-ms": "200"}),
        Fault(kind="status", status=500),
        Fault(kind="status", status=503),
        Fault(kind="status", status=503, headers={"Retry-After": "nonsense"}),
        Fault(kind="reset"),
        Fault(kind="cut"),
        Fault(kind="not_json"),
        Fault(kind="empty_choices"),
        Fault(kind="no_message"),
        Fault(kind="slow", seconds=0.8),
    ],
    ids=lambda f: f"{f.kind} {f.status} {f.headers}",
)
def test_a_passing_fault_ends_in_the_right_score(serve: Serve, fault: Fault) -> None:
    score, server = score_one(serve, lambda body, n: fault if n == 0 else None, timeout_s=0.4)
    assert score.status == "ok"
    assert score.value == pytest.approx(expected_score(server.sent[0]["messages"][-1]["content"]))
    assert len(server.sent) == 2
    wait = server.times[1] - server.times[0]
    asked = fault.headers.get("Retry-After", "")
    assert wait >= (1.0 if asked == "1" else 0.2 if "retry-after-ms" in fault.headers else 0.0)


@pytest.mark.parametrize("kind", ["reset", "cut", "not_json", "empty_choices"])
def test_a_fault_that_stays_is_a_missing_score_with_its_reason(serve: Serve, kind: Kind) -> None:
    score, server = score_one(serve, lambda body, n: Fault(kind=kind), max_retries=2)
    assert (score.value, score.status) == (None, "failed")
    assert "after 3 attempts" in score.reason
    assert len(server.sent) == 3


def test_an_expired_key_in_the_middle_keeps_what_was_answered(serve: Serve, tmp_path: Path) -> None:
    cache = AnswerCache(open_database(f"sqlite:///{tmp_path / 'calls.db'}"), "endpoint")
    expired = Fault(kind="status", status=401)
    server = serve(lambda body, n: expired if "Reply 20." in body["messages"][-1]["content"] else None)
    asked = items(*(f"Reply {i}." for i in range(40)))
    with pytest.raises(UnavailableError, match="refuses the key"):
        by_logprobs(server, cache=cache, n_parallel=2).score(asked)
    n_before = sum(server.delivered.values())
    assert 15 <= n_before < 40
    server.behave = lambda body, n: None
    scores = by_logprobs(server, cache=cache).score(asked)
    assert {s.status for s in scores} == {"ok"}
    assert server.n_delivered_twice == 0


def test_hostile_text_is_sent_as_text_and_reads_as_any_other(serve: Serve) -> None:
    server = serve()
    scorer, asked = by_logprobs(server), items(*HOSTILE)
    for score, one in zip(scorer.score(asked), asked, strict=True):
        if score.status == "ok":
            assert score.value == pytest.approx(expected_score(text_of(scorer, one))), one.reply
        else:
            assert score.status in ("empty", "truncated"), one.reply
            assert scorer.calls([one]) == []
    sent = {body["messages"][-1]["content"] for body in server.sent}
    assert sent == {str(call.body["messages"][-1]["content"]) for call in scorer.calls(asked)}
