"""The request queue: what is asked once, what is kept, what is charged, and where the money ends."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from faulty_server import Fault, FaultyServer
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BudgetError, ConfigError, UnavailableError
from harness.models.cache import AnswerCache
from harness.models.endpoint.calls import ChatCall
from harness.models.endpoint.chat_client import ChatClient, run_async
from harness.models.endpoint.limiter import ConcurrencyLimiter
from harness.models.endpoint.prices import Budget, Price, listed_price
from harness.models.endpoint.queue import RequestQueue
from harness.models.endpoint.retrying import classify, retry_after

# The server says 300 tokens in and 1 out for every call: $0.0003 + $0.000002 at these prices.
PRICE = Price(input=1.0, output=2.0)
COST = 0.000302


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


def call(text: str, **more: Any) -> ChatCall:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 8, "logprobs": True}
    return ChatCall(body=body, **more)


def queue(
    server: FaultyServer,
    *,
    cache: AnswerCache | None = None,
    reuses: bool = True,
    repetition: int = 0,
    **client: Any,
) -> RequestQueue:
    of_client = ChatClient(url=server.url, model="m", **client)
    return RequestQueue(of_client, purpose="test", cache=cache, reuses=reuses, repetition=repetition)


# ── cache and ledger ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_calls_are_asked_once_and_known_ones_not_at_all(server: FaultyServer, cache: AnswerCache) -> None:
    calls = [call("a"), call("b"), call("a"), call("a", draw=1)]
    done: list[int] = []
    first = queue(server, cache=cache).ask(calls, on_done=lambda place, result: done.append(place))
    assert sorted(done) == [0, 1, 2, 3]
    assert first[0] == first[2]
    assert len(server.sent) == 3
    again = queue(server, cache=cache).ask(calls)
    assert [r.answer for r in again] == [r.answer for r in first]
    assert {r.n_attempts for r in again} == {0}
    assert len(server.sent) == 3
    assert cache.total().n_calls == 3


def test_a_repetition_asks_anew_and_is_kept_by_itself(server: FaultyServer, cache: AnswerCache) -> None:
    for _ in range(2):
        queue(server, cache=cache).ask([call("a")])
        queue(server, cache=cache, repetition=1).ask([call("a")])
    assert len(server.sent) == 2


def test_an_error_is_in_the_ledger_and_never_among_the_answers(server: FaultyServer, cache: AnswerCache) -> None:
    server.behave = lambda body, n: Fault(kind="not_json")
    (result,) = queue(server, cache=cache, max_retries=1).ask([call("a")])
    assert (result.answer, result.n_lost) == (None, 2)
    assert (cache.total().n_calls, cache.total().n_failed) == (1, 1)
    server.behave = lambda body, n: None
    (result,) = queue(server, cache=cache).ask([call("a")])
    assert result.answer is not None


# ── a server that names the length cap otherwise ─────────────────────────────────────────────────────────────────────

OPENAI_REFUSAL = Fault(
    kind="status",
    status=400,
    message="Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead.",
    param="max_tokens",
    code="unsupported_parameter",
)


@pytest.mark.parametrize("refusal", [OPENAI_REFUSAL, dataclasses.replace(OPENAI_REFUSAL, param="", code="")])
def test_a_cap_under_its_new_name_is_the_same_question(
    server: FaultyServer, cache: AnswerCache, refusal: Fault
) -> None:
    server.behave = lambda body, n: refusal if "max_tokens" in body else None
    first = queue(server, cache=cache, n_parallel=1, max_retries=0).ask([call(str(i)) for i in range(4)])
    assert {r.error for r in first} == {""}
    assert [b.get("max_completion_tokens") for b in server.sent] == [None, 8, 8, 8, 8]  # refused once
    assert {r.n_attempts for r in first} == {1}
    assert (cache.total().n_calls, cache.total().n_failed) == (4, 0)
    server.behave = lambda body, n: None
    again = queue(server, cache=cache).ask([call(str(i)) for i in range(4)])
    assert [r.answer for r in again] == [r.answer for r in first]
    assert len(server.sent) == 5


def test_calls_in_flight_together_learn_the_new_name_together(server: FaultyServer) -> None:
    server.behave, server.latency = lambda body, n: OPENAI_REFUSAL if "max_tokens" in body else None, 0.05
    found = queue(server, n_parallel=8, max_retries=0).ask([call(str(i)) for i in range(16)])
    assert all(r.answer is not None for r in found)
    assert sum("max_tokens" in body for body in server.sent) <= 8


def test_another_refusal_is_no_reason_to_rename_the_cap(server: FaultyServer) -> None:
    other = dataclasses.replace(OPENAI_REFUSAL, param="temperature", message="Unsupported value: 'temperature'.")
    server.behave = lambda body, n: other
    (found,) = queue(server, max_retries=2).ask([call("a")])
    assert found.error == "status 400 (unsupported_parameter): Unsupported value: 'temperature'."
    assert len(server.sent) == 1
    server.behave = lambda body, n: OPENAI_REFUSAL  # whatever it is called
    (found,) = queue(server, max_retries=2).ask([call("b")])
    assert found.error == f"status 400 (unsupported_parameter): {OPENAI_REFUSAL.message}"
    assert len(server.sent) == 3


# ── budget ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_budget_is_never_crossed_and_a_second_command_goes_on(server: FaultyServer, cache: AnswerCache) -> None:
    # At worst 404 bytes, 32 tokens of template and 8 out: 1.5 times what is charged, so the 20th still fits in 20.5.
    calls = [call(f"{i:04}" + "x" * 400) for i in range(50)]
    budget = Budget(20.5 * COST)
    with pytest.raises(BudgetError, match=r"leaves no room.* calls are left; what was answered is kept"):
        queue(server, cache=cache, price=PRICE, budget=budget, n_parallel=1).ask(calls)
    assert cache.total().n_calls == 20
    assert budget.spent_usd == pytest.approx(20 * COST)
    queue(server, cache=cache, price=PRICE, budget=Budget(1.0)).ask(calls)
    assert cache.total().n_calls == 50
    assert server.n_delivered_twice == 0


@pytest.mark.parametrize("n_parallel", [1, 8])
def test_worst_cases_in_flight_are_reserved(server: FaultyServer, cache: AnswerCache, n_parallel: int) -> None:
    dear = Price(input=0.0, output=1000.0)  # worst: 8 tokens out, charged: 1
    budget = Budget(0.0205)  # in tokens: 20.5, so the 14th call could make it 13 + 8
    server.latency = 0.005
    with pytest.raises(BudgetError):
        queue(server, cache=cache, price=dear, budget=budget, n_parallel=n_parallel).ask(
            [call(str(i)) for i in range(99)]
        )
    assert cache.total().n_calls == 13
    assert budget.spent_usd == pytest.approx(0.013)


def test_a_lost_answer_counts_as_charged_a_refused_attempt_does_not(server: FaultyServer) -> None:
    dear = Price(input=0.0, output=1000.0)
    fates = [Fault(kind="not_json"), Fault(kind="status", status=429), Fault(kind="not_json")]
    server.behave = lambda body, n: fates[n] if n < 3 else None
    budget = Budget(0.0245)  # two lost at 8 and one that could cost 8
    queue(server, price=dear, budget=budget).ask([call("a")])
    assert budget.spent_usd == pytest.approx(0.017)
    with pytest.raises(BudgetError):
        queue(server, price=dear, budget=Budget(0.0235)).ask([call("b")])


def test_what_waits_for_room_is_not_sent_once_everything_stops(server: FaultyServer) -> None:
    dear = Price(input=0.0, output=1000.0)  # worst: 0.008; room for two

    def behave(body: dict[str, Any], n: int) -> Fault | None:
        text = body["messages"][0]["content"]
        return {"slow": Fault(kind="slow", seconds=0.2), "refused": Fault(kind="status", status=401)}.get(text)

    server.behave = behave
    budget = Budget(0.017)
    with pytest.raises(UnavailableError, match="refuses the key"):
        queue(server, price=dear, budget=budget, n_parallel=3).ask([call("slow"), call("refused"), call("waits")])
    assert len(server.sent) == 2
    assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.001, 0.0))


def test_a_budget_needs_a_price(server: FaultyServer) -> None:
    with pytest.raises(ConfigError, match=r"needs the price of `m`"):
        queue(server, budget=Budget(1.0))


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_counts_and_sends_nothing(server: FaultyServer, cache: AnswerCache) -> None:
    queue(server, cache=cache).ask([call("a")])
    plan = queue(server, cache=cache, price=PRICE).plan([call("a"), call("é" * 50), call("é" * 50)])
    assert len(server.sent) == 1
    assert (plan.n_calls, plan.n_known, plan.n_bytes, plan.n_output_at_most) == (1, 2, 100, 8)
    assert plan.n_input_at_most == 132  # 100 bytes and twice 16 for the template
    assert plan.usd_at_most == pytest.approx((132 + 16) / 1e6)
    assert queue(server).plan([call("a")]).usd_at_most is None


def test_prices_are_known_by_server_and_name() -> None:
    price = listed_price("https://api.openai.com/v1", "gpt-4o-mini")
    assert price is not None
    assert price.of(n_input=1_000_000, n_output=1_000_000) == pytest.approx(0.75)
    assert "2026" in price.source
    assert listed_price("http://localhost:8000/v1", "gpt-4o-mini") is None
    assert listed_price("https://api.openai.com/v1", "gpt-9") is None


# ── retries and concurrency ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:05 GMT"}, 5.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1445412480.0) == seconds  # 21 October 2015, 07:28:00


@pytest.mark.parametrize(
    ("status", "action", "is_congestion"),
    [(408, "retry", False), (425, "retry", False), (429, "retry", True), (503, "retry", True), (529, "retry", True),
     (400, "give_up", False), (401, "stop", False), (404, "stop", False)],
)  # fmt: skip
def test_a_status_decides_what_to_do(status: int, action: str, is_congestion: bool) -> None:
    fault = classify(status, {}, model="m", key_variable="K")
    assert (fault.action, fault.is_congestion, fault.is_lost) == (action, is_congestion, False)


def test_the_limit_rises_to_the_ceiling_and_is_halved_once_a_round() -> None:
    limiter = ConcurrencyLimiter(32)
    began = 1e9  # after any cut
    for _ in range(100):
        limiter.succeeded(began=began, seconds=0.2)
    assert limiter.limit == 32
    limiter.congested(began=began, retry_after=None)
    assert limiter.limit == 16
    limiter.congested(began=0.0, retry_after=None)  # sent before that cut
    assert limiter.limit == 16
    for _ in range(16):
        limiter.succeeded(began=began, seconds=0.2)
    assert 16.9 < limiter.limit < 17.1  # one more a round


FATES = st.tuples(st.floats(0.001, 1.0), st.floats(0.0, 1.0), st.sampled_from(["answered", "refused", "broken"]))


@given(st.lists(FATES, max_size=30), st.floats(0.2, 5.0), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_whatever_comes_of_calls_ceiling_and_budget_hold_and_nobody_waits_for_ever(
    calls: list[tuple[float, float, str]], limit_usd: float, ceiling: int
) -> None:
    budget = Budget(limit_usd)

    async def one(limiter: ConcurrencyLimiter, worst: float, share: float, fate: str) -> None:
        if not await limiter.enter(worst):
            return
        assert limiter.n_in_flight <= ceiling
        assert budget.spent_usd + budget.reserved_usd <= limit_usd + 1e-9
        await asyncio.sleep(0)
        if fate == "answered":
            limiter.succeeded(began=time.monotonic(), seconds=worst)
        elif fate == "refused":
            limiter.congested(began=time.monotonic(), retry_after=None)
        await limiter.leave(worst, worst * share)

    async def run() -> int:
        limiter = ConcurrencyLimiter(ceiling, budget)
        await asyncio.wait_for(asyncio.gather(*(one(limiter, *call) for call in calls)), 60)
        return limiter.n_in_flight

    assert asyncio.run(run()) == 0
    assert budget.reserved_usd == pytest.approx(0.0)


def test_a_server_with_little_room_is_found_out(server: FaultyServer) -> None:
    server.capacity, server.latency = 4, 0.02
    results = queue(server, n_parallel=32).ask([call(str(i)) for i in range(150)])
    assert all(r.answer for r in results)
    n_refused = len(server.sent) - 150
    assert n_refused < 75


def test_it_runs_inside_an_event_loop_too(server: FaultyServer) -> None:
    async def notebook() -> int:
        return len(queue(server).ask([call("a")]))

    assert asyncio.run(notebook()) == 1
    assert threading.current_thread() is threading.main_thread()

    async def name() -> str:
        return threading.current_thread().name

    assert run_async(name()) == "MainThread"
