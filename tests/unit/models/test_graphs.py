"""Replayed decoding steps beside plain ones, on tiny random models: on the CPU uncaptured, on CUDA as graphs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from fakes import jobs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models import graphs
from harness.models.batch import Job, Line
from harness.models.decoder import Limits
from harness.models.graphs import Step
from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest, adapter_name
from harness.types import Adapter, BaseModel, Decoding

CHATS = [[{"role": "user", "content": "ab" * n}] for n in (1, 9, 3, 6, 2)]


@pytest.fixture(scope="module")
def local(tiny_base: BaseModel, tiny_adapters: tuple[Adapter, ...]) -> LocalModel:
    """Captures early and grows often, so that short replies see it all."""
    model = LocalModel.load(tiny_base, dtype="float32")
    for adapter in tiny_adapters[:2]:
        model.add_adapter(adapter)
    return model


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch, local: LocalModel) -> Iterator[None]:
    monkeypatch.setattr(graphs, "_COLUMNS", 8)
    monkeypatch.setattr(graphs, "_WORTH_CAPTURING", 3)
    local.bank.graphs.drop()
    local.can_replay = True
    yield
    local.bank.graphs.is_unfit = False


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Every step that is captured from here on."""
    made: list[Step] = []
    before: Callable[..., None] = Step.__init__

    def note(self: Step, *args: Any) -> None:
        before(self, *args)
        made.append(self)

    monkeypatch.setattr(Step, "__init__", note)
    return made


def _decoded(local: LocalModel, jobs: list[Job], *, can_replay: bool, seed: int = 0) -> list[Line]:
    """Lines that come, are cancelled, lose their memory and go on with fewer rows, by a schedule of chance."""
    local.can_replay, rng = can_replay, random.Random(seed)
    lines = [Line(job=job) for job in jobs]
    waiting = list(lines)
    decoder = local.decoder(lambda line: None, limits=Limits(n_rows=5, n_tokens=2_000))
    is_left = True
    while is_left or waiting:
        with local.bank.borrowed():
            n_fresh = rng.choice((0, 0, 0, 3))
            decoder.add(waiting[:n_fresh])
            waiting = waiting[n_fresh:]
            is_left = decoder.turn()
        if rng.random() < 0.03:
            rng.choice((decoder.shrink, decoder.preempt))()
    return lines


def _require_same(found: list[Line], expected: list[Line]) -> None:
    assert [(line.tokens, line.finish) for line in found] == [(line.tokens, line.finish) for line in expected]
    for mine, plain in zip(found, expected, strict=True):
        logprobs = [step.logprob for step in plain.likelihoods]
        assert [step.logprob for step in mine.likelihoods] == pytest.approx(logprobs, abs=1e-4)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), which=st.sampled_from(((None,), ("one",), ("one", None), ("one", "two", None))))
def test_replayed_steps_give_the_tokens_and_logits_of_plain_ones(
    local: LocalModel, tiny_adapters: tuple[Adapter, ...], seed: int, which: tuple[str | None, ...]
) -> None:
    names = dict(zip(("one", "two"), map(adapter_name, tiny_adapters), strict=False))
    jobs = jobs_of(local, 9, tuple(name and names[name] for name in which), seed=seed, n_new=40, n_top=3)
    _require_same(_decoded(local, jobs, can_replay=True, seed=seed), _decoded(local, jobs, can_replay=False, seed=seed))


def _ask(local: LocalModel, *, can_replay: bool = True, n: int = 5, **decoding: Any) -> list[tuple[str, str | None]]:
    local.can_replay = can_replay
    asked = [ReplyRequest(key=str(i), messages=chat) for i, chat in enumerate(CHATS[:n])]
    replies = local.generate(asked, decoding=Decoding(**{"max_new_tokens": 40, "seed": 5, **decoding}))
    return [(reply.text, reply.finish_reason) for reply in replies]


@pytest.mark.parametrize("options", [{"stop": ("a", "e")}, {"n_draws": 3, "temperature": 1.2}, {"temperature": 0.0}])
def test_replies_are_the_same_with_stop_strings_and_draws(
    local: LocalModel, steps: list[Step], options: dict[str, Any]
) -> None:
    assert _ask(local, **options) == _ask(local, can_replay=False, **options)
    assert steps


def test_buffers_are_used_again_and_grow_for_what_does_not_fit(local: LocalModel, steps: list[Step]) -> None:
    _ask(local)
    n_steps, place = len(steps), steps[-1].states.data_ptr()
    _ask(local)
    assert len(steps) == n_steps
    _ask(local, n=2)
    assert len(steps) > n_steps
    assert {step.states.data_ptr() for step in steps[n_steps:]} == {place}
    n_steps = len(steps)
    _ask(local, n=1, temperature=0.0)
    assert len({step.states.shape[4] for step in steps[n_steps:]}) > 1, "no reply outgrew its columns"


def test_what_cannot_be_captured_takes_plain_steps_and_is_not_tried_again(
    local: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(run: Any, pool: Any) -> Any:
        tries.append(run())
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "captured", refuse)
    assert _ask(local) == _ask(local, can_replay=False)
    assert _ask(local)
    assert (len(tries), local.bank.graphs.is_unfit) == (1, True)


def test_a_reply_that_is_read_slowly_stands_beside_others(local: LocalModel, steps: list[Step]) -> None:
    request, decoding = ReplyRequest(key="0", messages=CHATS[0]), Decoding(max_new_tokens=40, temperature=0.0)
    local.can_replay = False
    expected, others = list(local.stream(request, decoding=decoding)), _ask(local, can_replay=False)
    local.can_replay = True
    found = []
    for k, tokens in enumerate(local.stream(request, decoding=decoding)):
        found.append(tokens)
        if k in (1, 8):
            assert _ask(local) == others
    assert found == expected
    assert steps


def test_weights_that_change_place_and_adapters_that_come_are_captured_anew(
    tiny_base: BaseModel, tiny_adapters: tuple[Adapter, ...]
) -> None:
    model = LocalModel.load(tiny_base, dtype="float32")
    before = _ask(model)
    model.add_adapter(tiny_adapters[0])
    assert not model.bank.graphs.has_steps
    assert _ask(model) == before
    for parameter in model.bank._bare.parameters():
        parameter.data = parameter.data * 1.5
    with model.bank.borrowed():
        is_kept = model.bank.graphs.has_steps
    assert not is_kept
    assert _ask(model) == _ask(model, can_replay=False) != before
    assert model.bank.graphs._steps
    model.bank._bare.train()  # whoever trains it needs the memory
    _ask(model)
    assert not model.bank.graphs.has_steps


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need CUDA")
def test_a_captured_step_is_replayed_and_not_run(local: LocalModel) -> None:
    _ask(local)
    calls: list[Any] = []
    hook = local.bank._bare.register_forward_hook(lambda *_: calls.append(None))
    try:
        _ask(local)
    finally:
        hook.remove()
    assert len(calls) < 10
    assert not local.bank.graphs.is_unfit
