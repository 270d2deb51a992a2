"""Answers and ledger on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading

import pytest
from faulty_server import FaultyServer
from sqlalchemy import Engine

from harness.models.answers import AnswerStore
from harness.models.endpoint.budget import Budget
from harness.models.endpoint.calls import ChatCall
from harness.models.endpoint.client import ChatClient
from harness.models.endpoint.desk import Desk
from harness.models.endpoint.prices import Price
from harness.models.endpoint.store import CallStore, Charge

PRICE = Price(input=1.0, output=2.0)


def charge(key: str) -> Charge:
    return Charge(
        key=key, url="u", model="m", purpose="p", n_attempts=1, n_lost=0, n_input=3, n_output=1, usd=0.5, seconds=0.1
    )


def test_an_answer_comes_back_as_it_was_kept_and_the_first_counts(engine: Engine) -> None:
    for table in ("endpoint_answers", "local_answers"):
        store = AnswerStore(engine, table)
        first = {"text": "naïve ☂ \\u0000", "numbers": [0.1, -2.5e-300, 1e308], "none": None, "nested": {"a": [1]}}
        store.write({"a": first, "b": {"n": 1}})
        store.write({"a": {"n": 2}, "c": {"n": 3}})
        assert store.read(["a", "b", "c", "unknown", "a"]) == {"a": first, "b": {"n": 1}, "c": {"n": 3}}
        assert store.read([]) == {}
        store.write({f"k{i}": {"n": i} for i in range(1200)})
        assert len(store.read(f"k{i}" for i in range(2000))) == 1200
    assert AnswerStore(engine, "local_answers").read(["k7"]) == {"k7": {"n": 7}}


def test_charge_and_answer_stand_together_or_not_at_all(engine: Engine) -> None:
    store = CallStore(engine)
    store.write([charge("a")], {"a": {"n": 1}})
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.write([charge("b")], {"b": {"n": object()}})
    assert store.answers(["a", "b"]) == {"a": {"n": 1}}
    assert (store.total().n_calls, store.total().usd, store.last_row()) == (1, 0.5, 1)
    assert store.total(purpose="another").n_calls == store.total(after=store.last_row()).n_calls == 0


def test_two_writers_of_the_same_answers_wait_for_each_other(engine: Engine) -> None:
    stores = [CallStore(engine), AnswerStore(engine, "endpoint_answers")]
    keys = [f"k{i}" for i in range(60)]

    def write(order: list[str], store: CallStore | AnswerStore) -> None:
        for key in order:  # in opposite orders, one transaction each
            store.write([charge(key)], {key: {"n": 1}}) if isinstance(store, CallStore) else store.write(
                {key: {"n": 1}}
            )

    threads = [threading.Thread(target=write, args=(o, s)) for o, s in zip((keys, keys[::-1]), stores, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(CallStore(engine).answers(keys)) == CallStore(engine).total().n_calls == 60


def test_a_desk_asks_charges_and_remembers(engine: Engine) -> None:
    calls = [
        ChatCall(body={"model": "m", "messages": [{"role": "user", "content": str(i)}], "max_tokens": 8})
        for i in range(40)
    ]
    with FaultyServer() as server:

        def desk() -> Desk:
            client = ChatClient(url=server.url, model="m")
            return Desk(client, purpose="judge", store=CallStore(engine), price=PRICE, budget=Budget(1.0))

        first = desk().ask(calls)
        again = desk().ask(calls)
        assert [r.answer for r in again] == [r.answer for r in first]
        assert len(server.sent) == 40
    total = CallStore(engine).total(purpose="judge")
    assert (total.n_calls, total.n_failed, total.n_input) == (40, 0, 12_000)
    assert total.usd == pytest.approx(40 * 302e-6)
