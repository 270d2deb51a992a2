"""Generations: of the allowed splits only, in order, and the same after a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from asked import prompt, reply
from fakes import FAKE_BASE, UniformModel

from harness.errors import InputError, SplitError, UnavailableError
from harness.generation import agreement, count, generate
from harness.models.protocol import Agreement, Reply, ReplyRequest
from harness.store.artifacts import read_jsonl
from harness.types import Adapter, Decoding, FinishReason, Generation, Message, Variant

ADAPTER = Adapter(name="sft", version="1", path="", digest="a" * 64, base=FAKE_BASE)
SHOT = (Message(role="user", content="Hi."), Message(role="assistant", content="Go."))
PLAIN = Variant(name="base", kind="model", base=FAKE_BASE, system="Continue.")
TUNED = dataclasses.replace(PLAIN, name="sft", adapter=ADAPTER)
SHOTS = dataclasses.replace(PLAIN, name="base-shots", shots=(SHOT,))
PROMPTS = tuple(prompt(f"p{i}", f"Line {i}", cluster=f"f{i % 3}") for i in range(6))
DECODING = Decoding(max_new_tokens=12, n_draws=2, seed=5)


class _Dying(UniformModel):
    """Is killed after a number of replies."""

    def generate(self, requests: Sequence[ReplyRequest], *, on_reply: Callable[[Reply], None], **options: Any) -> Any:  # type: ignore[override]
        left = iter(range(7))

        def dying(reply: Reply) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            on_reply(reply)

        return super().generate(requests, on_reply=dying, **options)


def _run(model: UniformModel, journal: Path | None = None, **changes: object) -> list[Generation]:
    options: dict[str, object] = {"decoding": DECODING, "allowed_splits": {"test"}, "journal": journal, **changes}
    return generate(model, [PLAIN, TUNED, SHOTS], PROMPTS, **options)  # type: ignore[arg-type]


def test_every_variant_prompt_and_draw_once_and_in_order() -> None:
    generations = _run(UniformModel())
    assert [(g.variant, g.prompt_id, g.draw) for g in generations] == [
        (v, p.id, d) for v in ("base", "sft", "base-shots") for p in PROMPTS for d in (0, 1)
    ]
    assert {(g.prompt_id, g.cluster) for g in generations} == {(p.id, p.cluster) for p in PROMPTS}
    assert {g.seed for g in generations} == {5}


def test_each_variant_is_asked_in_its_own_words() -> None:
    asked: list[ReplyRequest] = []

    class Listening(UniformModel):
        def generate(self, requests: Sequence[ReplyRequest], **options: Any) -> list[Reply]:
            asked.extend(requests)
            return super().generate(requests, **options)

    _run(Listening())
    by_tag = {r.tag: r for r in asked if r.key == "p0"}
    assert [m["content"] for m in by_tag["base"].messages] == ["Continue.", "Line 0"]
    assert [m["content"] for m in by_tag["base-shots"].messages] == ["Continue.", "Hi.", "Go.", "Line 0"]
    assert (by_tag["base"].adapter, by_tag["sft"].adapter) == (None, "sft/1#aaaaaaaaaaaa")


def test_a_killed_run_resumes_with_the_same_records_and_nothing_twice(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        _run(_Dying(), journal)
    with journal.open("ab") as stream:
        stream.write(b'{"prompt_id": "torn')
    second = UniformModel()
    assert _run(second, journal) == _run(UniformModel())
    assert len(second.calls) == 36 - 7
    assert len(read_jsonl(journal, Generation)) == 36
    third = UniformModel()
    _run(third, journal)
    assert third.calls == []


def test_a_journal_of_another_seed_is_refused(tmp_path: Path) -> None:
    _run(UniformModel(), tmp_path / "j.jsonl")
    with pytest.raises(InputError, match="must be of seed 6"):
        _run(UniformModel(), tmp_path / "j.jsonl", decoding=dataclasses.replace(DECODING, seed=6))


def test_a_prompt_of_another_split_is_refused_before_anything_is_generated() -> None:
    model = UniformModel()
    with pytest.raises(SplitError, match="`p0` must be of split train or validation here, got test"):
        _run(model, allowed_splits={"train", "validation"})
    assert model.calls == []


def test_names_and_ids_must_differ() -> None:
    with pytest.raises(InputError, match="`variants` must all be different"):
        generate(UniformModel(), [PLAIN, PLAIN], PROMPTS, decoding=DECODING, allowed_splits={"test"})
    with pytest.raises(InputError, match="`prompts` must all be different"):
        generate(UniformModel(), [PLAIN], PROMPTS * 2, decoding=DECODING, allowed_splits={"test"})


def test_a_model_that_generates_nothing_is_refused() -> None:
    with pytest.raises(UnavailableError, match="needs a model with `generate`"):
        _run(UniformModel(supports=frozenset({"continuation_logprobs"})))


def test_replies_are_counted_by_how_they_ended() -> None:
    ends: list[tuple[FinishReason, int | None]] = [("length", 4), ("stop", 4), ("error", None)]
    [found] = count([reply("p", "x", end, draw=draw, n_tokens=n) for draw, (end, n) in enumerate(ends)])
    assert (found.n, found.n_cut_off, found.n_failed, found.n_tokens) == (3, 1, 1, 8)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Rounding(UniformModel):
    """A model whose replies hang on their batch: every third is another when generated alone."""

    is_batch_invariant: bool = False

    def agreement_rate(
        self, requests: Sequence[ReplyRequest], replies: Sequence[str], *, decoding: Decoding, n: int = 16
    ) -> Agreement:
        alone = [reply.text for reply in self.generate(requests, decoding=decoding)]
        assert alone == list(replies)  # the requests rebuilt from generations are those that made them
        return Agreement(n=n, n_same=sum(i % 3 > 0 for i in range(n)))


def test_agreement_is_asked_of_models_that_do_not_promise_it() -> None:
    model = _Rounding()
    made = generate(model, [SHOTS], PROMPTS, decoding=DECODING, allowed_splits={"test"})
    found = agreement(model, SHOTS, PROMPTS, made, decoding=DECODING)
    assert found == Agreement(n=16, n_same=10)
    assert agreement(UniformModel(), SHOTS, PROMPTS, made, decoding=DECODING) is None
    assert agreement(_Rounding(is_batch_invariant=True), SHOTS, PROMPTS, made, decoding=DECODING) is None
