"""A batch that lines enter, leave and are thrown out of while it runs, on tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import jobs_of, tiny_adapter

from harness.errors import InputError
from harness.models.batch import Job, Line
from harness.models.decoder import Decoder, Limits
from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest, adapter_name
from harness.types import Adapter, BaseModel, Decoding

LIMITS = Limits(n_rows=4, n_tokens=2_000)


def _alone(local: LocalModel, job: Job) -> Line:
    done: list[Line] = []
    with local.bank.borrowed():
        local.decoder(done.append, limits=LIMITS).run([job])
    return done[-1]


def _finish(decoder: Decoder) -> None:
    while decoder.turn():
        pass


def test_lines_that_arrive_while_others_run_get_the_tokens_they_get_alone(
    tiny_local: LocalModel, tiny_adapters: tuple[Adapter, ...]
) -> None:
    jobs = jobs_of(tiny_local, 18, (None, *(adapter_name(a) for a in tiny_adapters)))
    lines = [Line(job=job) for job in jobs]
    decoder = tiny_local.decoder(lambda line: None, limits=LIMITS)
    with tiny_local.bank.borrowed():
        for start in range(0, len(lines), 3):
            decoder.add(lines[start : start + 3])
            decoder.turn()
            assert len(decoder.running) <= LIMITS.n_rows
            assert len({line.job.stream for line in decoder.running}) <= 1
        _finish(decoder)
    assert [line.tokens for line in lines] == [_alone(tiny_local, job).tokens for job in jobs]


def test_lines_start_in_the_order_they_came(tiny_local: LocalModel) -> None:
    seen: list[int] = []
    lines = [Line(job=job) for job in jobs_of(tiny_local, 12)]
    decoder = tiny_local.decoder(
        lambda line: seen.append(line.job.index) if len(line.tokens) == 1 else None, limits=LIMITS
    )
    decoder.add(lines)
    with tiny_local.bank.borrowed():
        _finish(decoder)
    assert seen == list(range(12))


def test_a_cancelled_line_gives_up_its_row_and_changes_no_other(tiny_local: LocalModel) -> None:
    jobs = jobs_of(tiny_local, 9)
    lines = [Line(job=job) for job in jobs]
    decoder = tiny_local.decoder(lambda line: None, limits=LIMITS)
    decoder.add(lines)
    with tiny_local.bank.borrowed():
        decoder.turn()
        running = decoder.running[0]
        decoder.cancel(running)
        decoder.cancel(lines[-1])  # has not started
        n_tokens = len(running.tokens)
        assert running not in decoder.running
        _finish(decoder)
    assert len(running.tokens) == n_tokens
    assert lines[-1].tokens == []
    kept = [i for i, line in enumerate(lines) if line is not running and line is not lines[-1]]
    assert [lines[i].tokens for i in kept] == [_alone(tiny_local, jobs[i]).tokens for i in kept]


@pytest.mark.parametrize("every", [1, 3])
def test_lines_whose_memory_is_taken_go_on_and_lose_no_token(tiny_local: LocalModel, every: int) -> None:
    jobs = jobs_of(tiny_local, 8)
    lines = [Line(job=job) for job in jobs]
    decoder = tiny_local.decoder(lambda line: None, limits=LIMITS)
    decoder.add(lines)
    n_turns = 0
    with tiny_local.bank.borrowed():
        while decoder.turn():
            n_turns += 1
            if n_turns % every == 0:
                decoder.preempt()
    assert [line.tokens for line in lines] == [_alone(tiny_local, job).tokens for job in jobs]


@pytest.mark.parametrize("most", [1, 2])
def test_where_memory_runs_out_fewer_rows_give_the_same_replies(tiny_local: LocalModel, most: int) -> None:
    refused = []

    def check(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[0] > most:
            refused.append(module)
            raise torch.OutOfMemoryError("CUDA out of memory")

    asked = [ReplyRequest(key=str(i), messages=[{"role": "user", "content": "ab" * (i + 1)}]) for i in range(6)]
    decoding = Decoding(max_new_tokens=9, seed=3)
    expected = tiny_local.generate(asked, decoding=decoding)
    hook = tiny_local.bank._bare.register_forward_pre_hook(check, with_kwargs=True)
    try:
        assert tiny_local.generate(asked, decoding=decoding) == expected
        n_refused, most = len(refused), 0
        with pytest.raises(torch.OutOfMemoryError):
            tiny_local.generate(asked[:1], decoding=decoding)
    finally:
        hook.remove()
    assert n_refused >= 1


def test_a_failed_encoding_leaves_every_line_to_be_taken_up_again(tiny_local: LocalModel) -> None:
    jobs = jobs_of(tiny_local, 6)
    lines = [Line(job=job) for job in jobs]
    decoder = tiny_local.decoder(lambda line: None, limits=LIMITS)
    decoder.add(lines)
    stray = Line(job=Job(index=9, key="x", draw=0, adapter="nobody", ids=(5, 6), decoding=Decoding(), stream="mixed"))
    with tiny_local.bank.borrowed():
        decoder.turn()
        decoder.waiting.appendleft(stray)
        with pytest.raises(KeyError, match="nobody"):
            _finish(decoder)
        assert stray in decoder.preempt()
        decoder.cancel(stray)
        _finish(decoder)
    assert [line.tokens for line in lines] == [_alone(tiny_local, job).tokens for job in jobs]


def test_rows_and_tokens_are_never_exceeded(tiny_local: LocalModel) -> None:
    lines = [Line(job=job) for job in jobs_of(tiny_local, 12)]
    limits = Limits(n_rows=8, n_tokens=250)
    decoder = tiny_local.decoder(lambda line: None, limits=limits)
    decoder.add(lines)
    most = 0
    with tiny_local.bank.borrowed():
        while decoder.turn():
            running = decoder.running
            most = max(most, len(running))
            columns = max((line.job.n_columns for line in running), default=0)
            assert len(running) <= 1 or len(running) * columns <= limits.n_tokens
    assert 1 < most < 8
    assert all(line.finish for line in lines)


def test_likelihoods_are_the_model_s_own_before_temperature(tiny_local: LocalModel) -> None:
    jobs = jobs_of(tiny_local, 6, n_top=5)
    lines = [Line(job=job) for job in jobs]
    decoder = tiny_local.decoder(lambda line: None, limits=LIMITS)
    decoder.add(lines)
    with tiny_local.bank.borrowed():
        _finish(decoder)
    for line in lines:
        with tiny_local.bank.borrowed():
            logits = tiny_local.bank.forward([None], input_ids=torch.tensor([line.ids])).logits[0]
        expected = logits.float().log_softmax(dim=-1)
        assert len(line.likelihoods) == len(line.tokens)
        for k, (token, found) in enumerate(zip(line.tokens, line.likelihoods, strict=True)):
            at = expected[len(line.job.ids) - 1 + k]
            assert found.logprob == pytest.approx(float(at[token]), abs=1e-4)
            assert [p for _, p in found.top] == pytest.approx(at.topk(5).values.tolist(), abs=1e-4)


def test_a_removed_adapter_is_gone_and_the_others_speak_as_before(tiny_base: BaseModel, tmp_path: Path) -> None:
    one = tiny_adapter(tmp_path / "one", tiny_base, name="one")
    two = tiny_adapter(tmp_path / "two", tiny_base, name="two", seed=5)
    local = LocalModel.load(tiny_base)
    chat = [{"role": "user", "content": "abc"}]
    decoding = Decoding(max_new_tokens=12)

    def say(name: str | None) -> str:
        return local.generate([ReplyRequest(key="p", messages=chat, adapter=name)], decoding=decoding)[0].text

    base_says = say(None)
    first, second = local.add_adapter(one), local.add_adapter(two)
    says = {name: say(name) for name in (first, second)}
    n_weights = sum(p.numel() for p in local.bank._peft.parameters())
    local.bank.remove(first)
    assert sum(p.numel() for p in local.bank._peft.parameters()) < n_weights
    assert (say(second), say(None)) == (says[second], base_says)
    with pytest.raises(InputError, match="must name an added adapter"):
        say(first)
    local.bank.remove(second)
    assert say(None) == base_says
    assert local.add_adapter(one) == first
    assert (say(first), say(None)) == (says[first], base_says)
