"""The engine's thread: full queues, leavers, adapters that come and go, memory that runs out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import torch

from harness.models.chat_templates import render
from harness.models.local import LocalModel
from harness.registry import resolve
from harness.serving.batching import Ask, Engine, Piece, Ticket
from harness.serving.error_answers import ApiError
from harness.store.tracking import Tracking
from harness.types import Adapter, BaseModel, Decoding


@pytest.fixture(scope="module")
def model(base: BaseModel) -> LocalModel:
    return LocalModel.load(base)


def _ask(model: LocalModel, text: str = "abc", *, adapter: Adapter | None = None, **more: Any) -> Ask:
    decoding = Decoding(**{"max_new_tokens": 20, "temperature": 1.0, "top_p": 1.0, "seed": 5, **more})
    ids = render(model.tokenizer, [{"role": "user", "content": text}])
    return Ask(ids=ids, key=text, decoding=decoding, adapter=adapter)


async def _tokens(ticket: Ticket) -> list[list[int]]:
    """Every reply's tokens, once all have ended."""
    found: list[list[int]] = [[] for _ in range(ticket.ask.decoding.n_draws)]
    n_open = len(found)
    while n_open:
        piece: Piece = await ticket.next()
        found[piece.draw] += piece.tokens
        n_open -= piece.finish is not None
    return found


@contextlib.asynccontextmanager
async def _engine(model: LocalModel, **bounds: int) -> AsyncIterator[Engine]:
    engine = Engine(model, **{"max_batch": 4, "max_queue": 100, "max_adapters": 2, **bounds})
    engine.start()
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.stop)


async def _all(engine: Engine, asks: list[Ask]) -> list[list[list[int]]]:
    return list(await asyncio.gather(*(_tokens(engine.submit(ask)) for ask in asks)))


async def _each_alone(model: LocalModel, asks: list[Ask]) -> list[list[list[int]]]:
    async with _engine(model, max_batch=1) as engine:
        return [await _tokens(engine.submit(ask)) for ask in asks]


@contextlib.contextmanager
def _memory_for(model: LocalModel, n_rows: int, error: type[Exception] = torch.OutOfMemoryError) -> Iterator[list[int]]:
    """A model whose memory ends above so many rows; gives the number of refusals."""
    refused = [0]

    def check(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[0] > n_rows:
            refused[0] += 1
            raise error("out of memory")

    hook = model.bank._bare.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield refused
    finally:
        hook.remove()


@pytest.mark.asyncio
async def test_adapters_come_and_go_while_others_run(model: LocalModel, registry: Tracking) -> None:
    names = ("film/1", "film/2", "dora/1")
    adapters: list[Adapter | None] = [None, *(resolve(registry, name) for name in names)]
    asks = [_ask(model, f"p{i}", adapter=adapters[i % 4], n_draws=1 + i % 2) for i in range(16)]
    async with _engine(model, max_adapters=1) as engine:
        together = await _all(engine, asks)
        assert len(engine.load.adapters) == 1
        assert len(model.adapters) == 1
    assert together == await _each_alone(model, asks)
    assert len({str(tokens) for tokens in together}) == 16


@pytest.mark.asyncio
async def test_a_full_queue_refuses_and_says_when_to_come_again(model: LocalModel) -> None:
    async with _engine(model, max_batch=1, max_queue=2) as engine:
        tickets = [engine.submit(_ask(model, max_new_tokens=50)) for _ in range(3)]
        with pytest.raises(ApiError) as caught:
            engine.submit(_ask(model))
        assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        assert engine.load.running + engine.load.waiting == 3
        for ticket in tickets:
            await _tokens(ticket)
        assert await _tokens(engine.submit(_ask(model)))
        assert engine.load.waiting == 0


@pytest.mark.asyncio
async def test_who_leaves_makes_room_at_once(model: LocalModel) -> None:
    async with _engine(model, max_batch=1, max_queue=2) as engine:
        running, waiting, staying = (engine.submit(_ask(model, max_new_tokens=300)) for _ in range(3))
        await running.next()
        engine.cancel(running)
        engine.cancel(running)
        engine.cancel(waiting)
        assert await _tokens(staying)
        engine.cancel(staying)  # has ended: nothing to do
        assert (engine.load.running, engine.load.waiting) == (0, 0)
        assert waiting.pieces.empty()
        assert sum(len(line.tokens) for line in running.lines) < 300


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
async def test_a_batch_that_is_too_large_is_made_smaller_and_loses_nothing(
    model: LocalModel, error: type[Exception]
) -> None:
    asks = [_ask(model, f"p{i}") for i in range(9)]
    async with _engine(model) as engine:
        with _memory_for(model, 2, error) as refused:
            together = await _all(engine, asks)
        assert refused[0] >= 1
        assert engine._decoder.limits.n_rows <= 2
    assert together == await _each_alone(model, asks)


@pytest.mark.asyncio
async def test_a_shrunk_batch_grows_again(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.serving.batching._TURNS_BEFORE_GROWTH", 5)
    async with _engine(model) as engine:
        with _memory_for(model, 1):
            await _all(engine, [_ask(model, f"p{i}", max_new_tokens=3) for i in range(4)])
        await _all(engine, [_ask(model, f"p{i}") for i in range(9)])
        assert engine._decoder.limits.n_rows == 4


@pytest.mark.asyncio
async def test_a_request_that_fits_no_memory_fails_and_the_next_is_answered(model: LocalModel) -> None:
    async with _engine(model) as engine:
        with _memory_for(model, 0):
            for outcome in await asyncio.gather(
                *(_tokens(engine.submit(_ask(model, f"p{i}"))) for i in range(3)), return_exceptions=True
            ):
                assert isinstance(outcome, ApiError)
                assert (outcome.status, outcome.code) == (503, "out_of_memory")
        assert await _tokens(engine.submit(_ask(model)))
        assert (engine.load.running, engine.load.waiting) == (0, 0)


@pytest.mark.asyncio
async def test_any_other_failure_of_the_model_fails_what_ran_and_no_more(model: LocalModel) -> None:
    async with _engine(model) as engine:
        hook = model.bank._bare.register_forward_pre_hook(_broken)
        with pytest.raises(ApiError, match="decoding failed: RuntimeError"):
            await _tokens(engine.submit(_ask(model)))
        hook.remove()
        assert await _tokens(engine.submit(_ask(model)))


def _broken(module: Any, args: Any) -> None:
    raise RuntimeError("shapes do not match")


@pytest.mark.asyncio
async def test_a_stopping_engine_finishes_what_it_accepted_and_refuses_the_rest(model: LocalModel) -> None:
    async with _engine(model, max_batch=1) as engine:
        accepted = [asyncio.create_task(_tokens(engine.submit(_ask(model, f"p{i}")))) for i in range(3)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
        while engine.load.status != "stopping":
            await asyncio.sleep(0.001)
        with pytest.raises(ApiError, match="stopping"):
            engine.submit(_ask(model))
        await stopping
        assert all(await asyncio.gather(*accepted))
