"""A small crowd; the large one is `tests/benchmarks/serving_load.py`."""

from __future__ import annotations

from crowd import Plan, drive, say_alone
from servers import Running, wait_until_idle


def test_a_crowd_gets_what_each_gets_alone_and_leaves_nothing_behind(server: Running) -> None:
    plan = Plan(n_clients=24, models=("base", "film/1", "film/2"), n_bodies=30, n_each=3, share_leaving=0.2)
    outcome = drive(server.url, plan)
    wait_until_idle(server)
    assert outcome.failures == []
    assert outcome.n_left >= 3
    assert len(outcome.texts) + outcome.n_left + outcome.n_refused == 72
    alone = say_alone(server.url, plan, sorted({i for i, _ in outcome.texts}))
    assert [(i, text) for i, text in outcome.texts if text != alone[i]] == []
    assert len(set(alone.values())) > len(alone) // 2
    assert not server.service.engine._tickets
