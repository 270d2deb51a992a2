"""A cached model: it goes on after a kill to the very bits, computes nothing twice, and keeps no errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FAKE_BASE, UniformModel, tiny_model, tiny_tokenizer
from faulty_server import FaultyServer

from harness.errors import InputError
from harness.models.cache import AnswerCache
from harness.models.cached import CachedModel
from harness.models.endpoint import EndpointModel
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.local import LocalModel
from harness.models.protocol import (
    ContinuationRequest,
    LanguageModel,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
)
from harness.store.database import open_database
from harness.types import Decoding

OPTIONS = tuple("12345")
GREEDY = Decoding(max_new_tokens=6, temperature=0.0, top_p=1.0)


class Killed(Exception):
    """The process dies here."""


class World:
    """A tiny model behind a cache, its forward passes counted, and killed on demand."""

    def __init__(self, folder: Path) -> None:
        self.cache = AnswerCache(open_database(f"sqlite:///{folder / 'answers.db'}"), "local")
        self.n_loaded = 0
        self.n_passes = 0
        self.dies_at: int | None = None
        self.recalled: list[tuple[int, int]] = []
        weights: Any = tiny_model()
        weights.register_forward_pre_hook(self._count)
        self.local = LocalModel(weights, tiny_tokenizer(), base=FAKE_BASE)

    def _count(self, module: object, inputs: object) -> None:
        self.n_passes += 1
        if self.n_passes == self.dies_at:
            raise Killed

    def load(self) -> LocalModel:
        self.n_loaded += 1
        return self.local

    def model(self, *identity: Any, load: Callable[[], LanguageModel] | None = None) -> CachedModel:
        return CachedModel(
            load or self.load,
            identity=[FAKE_BASE.digest, *identity],
            cache=self.cache,
            on_recall=lambda known, asked: self.recalled.append((known, asked)),
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("harness.models.cached._COMMIT_S", 0.0)
    return World(tmp_path)


def options(n: int = 24) -> list[OptionRequest]:
    """Two beginnings that many share, as criteria are, then as many conversations as there are questions."""
    return [
        OptionRequest(
            key=f"q{i}",
            messages=[
                {"role": "user", "content": f"{'Is it good?' if i % 2 else 'Rate this.'} {'sea' * 20} {i * 7919}."}
            ],
            prefix="Score: ",
            options=OPTIONS,
        )
        for i in range(n)
    ]


def continuations(n: int = 24) -> list[ContinuationRequest]:
    return [ContinuationRequest(key=r.key, messages=r.messages, reply=f"It sank {r.key}." * 3) for r in options(n)]


ASKS: dict[str, Callable[[Any, int], Sequence[Any]]] = {
    "options": lambda model, n: model.option_probabilities(options(n)),
    "continuations": lambda model, n: model.continuation_logprobs(continuations(n)),
}
both = pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
Ask = Callable[[Any, int], Sequence[Any]]


@both
def test_it_answers_as_the_model_does_and_the_second_time_without_it(world: World, ask: Ask) -> None:
    bare = ask(world.local, 24)
    assert ask(world.model(), 24) == bare
    n_loaded, n_passes = world.n_loaded, world.n_passes
    assert ask(world.model(), 24) == bare
    assert (world.n_loaded, world.n_passes) == (n_loaded, n_passes)
    assert world.recalled == [(0, 24), (24, 24)]


@both
def test_killed_at_any_pass_it_ends_with_the_same_bits_and_makes_the_other_passes_only(world: World, ask: Ask) -> None:
    bare = ask(world.local, 24)
    n_whole = world.n_passes
    assert n_whole > 5
    for dies_at in range(1, n_whole + 1):
        model = world.model(f"killed at {dies_at}")  # keys of its own
        world.n_passes, world.dies_at = 0, dies_at
        with pytest.raises(Killed):
            ask(model, 24)
        world.n_passes, world.dies_at = 0, None
        assert ask(model, 24) == bare
        # A group's prefix is encoded again when the group is gone on with: at most one pass more than what was left.
        assert n_whole - dies_at + 1 <= world.n_passes <= n_whole - dies_at + 2


@both
def test_new_questions_among_known_ones_are_all_that_is_computed(world: World, ask: Ask) -> None:
    ask(world.model(), 9)
    first = ask(world.model(), 24)
    n_passes = world.n_passes
    assert ask(world.model(), 24) == first
    assert world.n_passes == n_passes
    assert world.recalled == [(0, 9), (9, 24), (24, 24)]
    for one, other in zip(first, ask(world.local, 24), strict=True):  # in other company: the same but for rounding
        assert one.key == other.key
        numbers = [
            [*a.probabilities, a.mass, a.entropy] if isinstance(a, OptionProbabilities) else [a.total, a.end_logprob]
            for a in (one, other)
        ]
        assert numbers[0] == pytest.approx(numbers[1], abs=1e-4)


def test_equal_questions_are_asked_once_and_each_gets_its_answer_under_its_key(world: World) -> None:
    first = options(1)[0]
    twice = [first, dataclasses.replace(first, key="again")]
    found = world.model().option_probabilities(twice)
    assert [a.key for a in found] == ["q0", "again"]
    assert found[0].probabilities == found[1].probabilities
    assert world.recalled == [(0, 1)]


@pytest.mark.parametrize(
    "changes", [{"prefix": "Rate: "}, {"options": OPTIONS[:4]}, {"messages": [{"role": "user", "content": "Else."}]}]
)
def test_whatever_decides_an_answer_is_in_its_key(world: World, changes: dict[str, Any]) -> None:
    asked = options(1)
    world.model().option_probabilities(asked)
    for other in (world.model("bfloat16"), world.model("", 1)):
        other.option_probabilities(asked)
    world.model().option_probabilities([dataclasses.replace(asked[0], **changes)])
    world.model().option_probabilities([dataclasses.replace(asked[0], key="another name")])
    assert world.recalled == [(0, 1), (0, 1), (0, 1), (0, 1), (1, 1)]


def test_errors_are_never_kept(world: World) -> None:
    too_long = ContinuationRequest(key="long", messages=options(1)[0].messages, reply="y" * 600)
    for _ in range(2):
        with pytest.raises(InputError, match="512 positions"):
            world.model().continuation_logprobs([too_long])
    assert world.recalled == [(0, 1), (0, 1)]


def test_an_answer_that_is_not_a_number_is_never_kept(world: World) -> None:
    weights: Any = tiny_model()
    weights.get_input_embeddings().weight.data.fill_(math.nan)
    broken = LocalModel(weights, tiny_tokenizer(), base=FAKE_BASE)
    for _ in range(2):
        (found,) = world.model(load=lambda: broken).option_probabilities(options(1))
        assert math.isnan(found.probabilities[0])
    assert world.recalled == [(0, 1), (0, 1)]


def chats(n: int) -> list[ReplyRequest]:
    return [
        ReplyRequest(key=f"r{i}", messages=[{"role": "user", "content": f"Boat {i}?"}], tag=f"t{i}") for i in range(n)
    ]


def test_a_kill_between_replies_loses_none_that_came(world: World) -> None:
    bare = world.local.generate(chats(9), decoding=GREEDY)
    heard: list[Reply] = []

    def dies(reply: Reply) -> None:
        heard.append(reply)
        if len(heard) == 4:
            raise Killed

    with pytest.raises(Killed):
        world.model().generate(chats(9), decoding=GREEDY, on_reply=dies)
    heard.clear()
    assert world.model().generate(chats(9), decoding=GREEDY, on_reply=heard.append) == bare
    assert sorted(r.key for r in heard) == sorted(r.key for r in bare)
    world.model().generate(chats(1), decoding=dataclasses.replace(GREEDY, max_new_tokens=7))
    assert world.recalled == [(0, 9), (4, 9), (0, 1)]


def test_any_model_is_cached_and_a_paid_reply_is_asked_once(world: World) -> None:
    asked = [*chats(2), dataclasses.replace(chats(1)[0], tag="again")]
    with FaultyServer() as server:
        client = ChatClient(url=server.url, model="m")
        behind = EndpointModel(RequestQueue(client, purpose="t", reuses=False))
        first, again = (world.model(server.url, load=lambda: behind).generate(asked, decoding=GREEDY) for _ in range(2))
        assert first == again
        assert [r.tag for r in first] == ["t0", "t1", "again"]
        assert first[2] == dataclasses.replace(first[0], tag="again")
        assert len(server.sent) == 2
    found = [world.model("uniform", load=load).option_probabilities(options(3)) for load in (UniformModel, world.load)]
    assert found[0] == found[1] == UniformModel().option_probabilities(options(3))
    assert world.n_loaded == 0
