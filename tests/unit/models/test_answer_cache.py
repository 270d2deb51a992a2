"""Answers and ledger on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine

from harness.models.cache import AnswerCache, Charge
from harness.models.endpoint.prices import Price

PRICE = Price(input=1.0, output=2.0)


def charge(key: str) -> Charge:
    return Charge(
        key=key, url="u", model="m", purpose="p", n_attempts=1, n_lost=0, n_input=3, n_output=1, usd=0.5, seconds=0.1
    )


def test_an_answer_comes_back_as_it_was_kept_and_the_first_counts(engine: Engine) -> None:
    for kind in ("endpoint", "local"):
        cache = AnswerCache(engine, kind)
        first = {"text": "naïve ☂ \\u0000", "numbers": [0.1, -2.5e-300, 1e308], "none": None, "nested": {"a": [1]}}
        assert cache.mean_bytes() is None
        cache.write({"a": first, "b": {"n": 1}})
        cache.write({"a": {"n": 2}, "c": {"n": 3}})
        assert cache.read(["a", "b", "c", "unknown", "a"]) == {"a": first, "b": {"n": 1}, "c": {"n": 3}}
        assert cache.read([]) == {}
        cache.replace("a", {"n": 2})
        assert cache.read(["a"]) == {"a": {"n": 2}}
        cache.write({f"k{i}": {"n": i} for i in range(1200)})
        assert len(cache.read(f"k{i}" for i in range(2000))) == 1200
    assert AnswerCache(engine, "local").read(["k7"]) == {"k7": {"n": 7}}


def test_charge_and_answer_stand_together_or_not_at_all(engine: Engine) -> None:
    cache = AnswerCache(engine, "endpoint")
    cache.write({"a": {"n": 1}}, [charge("a")])
    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.write({"b": {"n": object()}}, [charge("b")])
    assert cache.read(["a", "b"]) == {"a": {"n": 1}}
    assert (cache.total().n_calls, cache.total().usd, cache.last_row()) == (1, 0.5, 1)
    assert cache.total(after=cache.last_row()).n_calls == 0


def test_two_writers_of_the_same_answers_wait_for_each_other(engine: Engine) -> None:
    caches = [AnswerCache(engine, "endpoint") for _ in range(2)]
    keys = [f"k{i}" for i in range(60)]

    def write(order: list[str], cache: AnswerCache) -> None:
        for key in order:  # in opposite orders, one transaction each
            cache.write({key: {"n": 1}}, [charge(key)])

    threads = [threading.Thread(target=write, args=(o, c)) for o, c in zip((keys, keys[::-1]), caches, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(caches[0].read(keys)), caches[0].total().n_calls) == (60, 120)
