"""Replies that no neighbour can change, on tiny random models."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch
from fakes import tiny_model, tiny_tokenizer

from harness.doors.text import repair_text
from harness.errors import InputError
from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest, adapter_name
from harness.seeding import derive
from harness.types import Adapter, BaseModel, Decoding

DECODING = Decoding(max_new_tokens=24, temperature=0.7, top_p=0.9)


def _requests(n: int, adapters: tuple[str | None, ...] = (None,)) -> list[ReplyRequest]:
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdef ", k=rng.randint(1, 60))) for _ in range(n)]
    chats = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}] for text in texts]
    return [
        ReplyRequest(key=f"p{i}", draw=draw, messages=chat, adapter=adapters[i % len(adapters)])
        for i, chat in enumerate(chats)
        for draw in range(1 + (i % 5 == 0))
    ]


def _names(adapters: tuple[Adapter, ...]) -> tuple[str | None, ...]:
    return (None, *(adapter_name(a) for a in adapters))


@pytest.mark.parametrize("stop", [(), ("e", "q")])
def test_replies_hang_on_neither_batch_size_nor_order_nor_neighbours(
    tiny_local: LocalModel, tiny_adapters: tuple[Adapter, ...], stop: tuple[str, ...]
) -> None:
    requests = _requests(20, _names(tiny_adapters))
    decoding = dataclasses.replace(DECODING, stop=stop)
    whole = tiny_local.generate(requests, decoding=decoding)
    assert [(r.key, r.draw, r.adapter) for r in whole] == [(r.key, r.draw, r.adapter) for r in requests]
    assert tiny_local.generate(requests[::-1], decoding=decoding, batch_size=3)[::-1] == whole
    assert [tiny_local.generate([r], decoding=decoding, batch_size=1)[0] for r in requests] == whole
    assert len({r.text for r in whole}) > len(whole) // 2  # draws and adapters do differ


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_greedy_replies_are_those_of_transformers_generate(kind: Any) -> None:
    model, tokenizer = tiny_model(kind=kind), tiny_tokenizer()
    local = LocalModel(model, tokenizer)
    requests = _requests(6)
    replies = local.generate(requests, decoding=Decoding(max_new_tokens=20, temperature=0))
    for request, reply in zip(requests, replies, strict=True):
        text = tokenizer.apply_chat_template(
            [dict(m) for m in request.messages], tokenize=False, add_generation_prompt=True
        )
        ids = torch.tensor([tokenizer.encode(text)])
        with torch.no_grad():
            generate: Any = model.generate
            out = generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=20,
                do_sample=False,
                eos_token_id=[0, 2],
                pad_token_id=0,
            )
        new = out[0, ids.shape[1] :].tolist()
        ends = [i for i, token in enumerate(new) if token in (0, 2)]
        expected = new[: ends[0] + 1] if ends else new
        assert reply.n_tokens == len(expected)
        assert reply.text == repair_text(str(tokenizer.decode(expected, skip_special_tokens=True))).text.strip()
        assert reply.finish_reason == ("stop" if ends else "length")


def test_an_adapter_speaks_as_it_does_alone(tiny_base: BaseModel, tiny_adapters: tuple[Adapter, ...]) -> None:
    """Mixed in a batch with others, each row is what PEFT gives for that adapter alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    mixed = LocalModel.load(tiny_base)
    names = tuple(mixed.add_adapter(a) for a in tiny_adapters[:2])
    requests = _requests(10, names)
    together = mixed.generate(requests, decoding=DECODING)
    for adapter, name in zip(tiny_adapters[:2], names, strict=True):
        bare = AutoModelForCausalLM.from_pretrained(tiny_base.source, dtype=torch.float32)
        peft: Any = PeftModel.from_pretrained(bare, adapter.path).eval()
        alone = LocalModel(peft, mixed.tokenizer)
        own = [r for r in requests if r.adapter == name]
        replies = alone.generate([dataclasses.replace(r, adapter="default") for r in own], decoding=DECODING)
        assert [r.text for r in replies] == [r.text for r in together if r.adapter == name]


def test_a_stop_string_ends_the_reply_and_is_cut_off(tiny_local: LocalModel) -> None:
    requests = _requests(12)
    free = tiny_local.generate(requests, decoding=DECODING)
    letter = next(c for r in free for c in r.text[1:] if c.isascii() and c.isprintable() and c != " ")
    stopped = tiny_local.generate(requests, decoding=dataclasses.replace(DECODING, stop=(letter,)))
    assert any(letter in r.text for r in free)
    for before, after in zip(free, stopped, strict=True):
        assert letter not in after.text
        if letter in before.text:
            assert after.text == before.text.split(letter)[0].strip()
            assert after.finish_reason == "stop"
        else:
            assert after == before


def test_agreement_is_one_here_and_notices_a_changed_reply(tiny_local: LocalModel) -> None:
    requests = _requests(6)
    replies = tiny_local.generate(requests, decoding=DECODING)
    assert tiny_local.agreement_rate(requests, [r.text for r in replies], decoding=DECODING).share == 1
    assert tiny_local.agreement_rate(requests, ["other"] * len(replies), decoding=DECODING, n=4).n_same == 0


def test_only_the_cpu_in_float32_promises_the_same_replies_in_any_batch(
    tiny_local: LocalModel, tiny_base: BaseModel
) -> None:
    assert tiny_local.is_batch_invariant
    assert not LocalModel.load(tiny_base, dtype="bfloat16").is_batch_invariant


def test_a_prompt_without_room_for_its_reply_is_refused(tiny_local: LocalModel) -> None:
    request = ReplyRequest(key="long", messages=[{"role": "user", "content": "x" * 600}])
    with pytest.raises(InputError, match="`long` must fit the model's 512 positions"):
        tiny_local.generate([request], decoding=DECODING)


def test_an_adapter_that_was_not_added_is_refused(tiny_local: LocalModel) -> None:
    with pytest.raises(InputError, match="must name an added adapter"):
        tiny_local.generate(
            [ReplyRequest(key="p", messages=[{"role": "user", "content": "x"}], adapter="nobody")], decoding=DECODING
        )


def test_a_trainer_s_model_is_left_as_it_was_found(tiny_base: BaseModel) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    bare = AutoModelForCausalLM.from_pretrained(tiny_base.source, dtype=torch.float32)
    model: Any = get_peft_model(bare, LoraConfig(r=2, target_modules="all-linear"))
    model.train()
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    local = LocalModel(model, tiny_tokenizer())
    local.generate(_requests(4, ("default", None)), decoding=DECODING)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert model.active_adapter == "default"
    ids = torch.tensor([[5, 6, 7]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert any(p.grad is not None for p in model.parameters())


def test_a_model_with_sliding_attention_gives_the_same_replies_without_joining() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(derive(0, "mistral") % 2**31)
    config = MistralConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=16,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=0,
    )
    local = LocalModel(MistralForCausalLM(config).eval(), tiny_tokenizer())
    requests = _requests(6)
    whole = local.generate(requests, decoding=Decoding(max_new_tokens=12))
    assert [local.generate([r], decoding=Decoding(max_new_tokens=12))[0] for r in requests] == whole


def test_prompts_encoded_in_portions_give_the_same_replies(
    tiny_local: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _requests(12)
    whole = tiny_local.generate(requests, decoding=DECODING)
    monkeypatch.setattr("harness.models.batch._ENCODED_AT_ONCE", 150)
    assert tiny_local.generate(requests, decoding=DECODING) == whole
