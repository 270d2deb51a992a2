"""The order of tasks, retries, and what becomes of tasks whose needs failed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines  # noqa: F401  names the stages that prepare and train
from harness.experiment.graph import Task
from harness.experiment.workers.schedule import Event, Ran, Ticket, run_tasks


def task(key: str, *needs: str, kind: str = "sft") -> Task:
    return Task(key=key, kind=kind, settings={}, needs={f"need-{n}": n for n in needs}, label=key)


@dataclass
class Instant:
    """Workers that finish one ticket a call, and fail those they are told to."""

    n_slots: int = 2
    fails: dict[str, int] = field(default_factory=dict)  # task → how many attempts fail
    hopeless: set[str] = field(default_factory=set)  # tasks whose failure is final
    started: list[str] = field(default_factory=list)
    at_once: int = 0
    _open: list[Ticket] = field(default_factory=list)

    def start(self, ticket: Ticket) -> None:
        self.started.append(ticket.task.key)
        self._open.append(ticket)
        self.at_once = max(self.at_once, len(self._open))

    def wait(self) -> list[Event]:
        key = self._open.pop(0).task.key
        if key in self.hopeless or self.fails.get(key, 0) > 0:
            self.fails[key] = self.fails.get(key, 0) - 1
            return [Event(key=key, kind="failed", message=f"{key} broke", is_final=key in self.hopeless)]
        return [Event(key=key, kind="progress", share=0.5), Event(key=key, kind="done", run_id=f"run-{key}")]

    def close(self) -> None:
        self._open.clear()


def run(tasks: list[Task], workers: Instant) -> Ran:
    ran = Ran()
    run_tasks({t.key: t for t in tasks}, workers, ran=ran)
    return ran


DIAMOND = [task("a", kind="prepare"), task("b", "a"), task("c", "a"), task("d", "b", "c", kind="dpo")]


@pytest.mark.parametrize(
    ("workers", "failures", "n_tries"),
    [
        (Instant(fails={"b": 1}), set(), 2),
        (Instant(fails={"b": 9}), {"b", "d", "e"}, 2),
        (Instant(hopeless={"b"}), {"b", "d", "e"}, 1),
    ],
)
def test_what_fails_is_tried_again_then_given_up_with_all_that_stands_on_it(
    workers: Instant, failures: set[str], n_tries: int
) -> None:
    """Unless it would fail again; the rest goes on."""
    ran = run([*DIAMOND, task("e", "d"), task("f", "c")], workers)
    assert (workers.started.count("b"), ran.n_retries) == (n_tries, n_tries - 1)
    assert ran.failures == dict.fromkeys(failures, "b broke")
    assert set(ran.runs) == set("abcdef") - failures


def test_what_is_taken_over_all_arms_goes_with_those_that_came_through() -> None:
    joint = Task(
        key="all", kind="metrics", settings={}, label="all", is_joint=True,
        needs={"prepared": "a", "replies b": "b", "replies c": "c"},
    )  # fmt: skip
    ran = run([*DIAMOND, joint], Instant(hopeless={"b"}))
    assert set(ran.runs) == {"a", "c", "all"}
    assert set(run([*DIAMOND, joint], Instant(hopeless={"b", "c"})).failures) == {"b", "c", "d", "all"}


def test_the_longest_road_goes_first() -> None:
    short, long = task("short", kind="heldout"), task("long", kind="sft")
    tasks = [short, long, task("end", "long", kind="dpo")]
    workers = Instant(n_slots=2)
    run(tasks, workers)
    assert workers.started[0] == "long"
    alone = Instant(n_slots=1)
    run(tasks, alone)
    assert alone.started == ["short", "long", "end"]  # one at a time, the order of the plan is as quick


def test_what_is_done_already_is_not_run() -> None:
    workers, ran = Instant(), Ran(runs={"a": "run-a", "b": "run-b"})
    run_tasks({t.key: t for t in DIAMOND}, workers, ran=ran)
    assert sorted(workers.started) == ["c", "d"]


@given(st.integers(1, 12), st.integers(1, 4), st.data())
def test_any_graph_is_run_in_order_once(n: int, slots: int, data: st.DataObject) -> None:
    tasks = []
    for i in range(n):
        needs = data.draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        tasks.append(task(str(i), *map(str, needs)))
    workers = Instant(n_slots=slots)
    ran = run(tasks, workers)
    assert sorted(workers.started) == sorted(t.key for t in tasks)
    place = {key: at for at, key in enumerate(workers.started)}
    assert all(place[need] < place[t.key] for t in tasks for need in t.needs.values())
    assert workers.at_once <= slots
    assert len(ran.runs) == n
