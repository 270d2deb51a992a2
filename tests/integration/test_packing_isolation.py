"""On the real model: a packed example has the logits that it has alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.models.bases import load_tokenizer, resolve_base
from harness.models.chat_templates import chat_messages, render, reply_ids
from harness.types import Example, Message
from pipelines.training.modeling import load_base, resolve_runtime
from pipelines.training.packing import FlatPack, flatten

pytestmark = [pytest.mark.model, pytest.mark.slow]

EXCHANGES = [
    ("You came back.", "I left my coat."),
    ("There is no coat here, Marlow. There never was.", "Then I came back for the rain."),
    ("Who taught you to drive?", "Nobody. That is why we are still alive."),
    ("Say it again, slower.", "No."),
]


@pytest.fixture(scope="module")
def pack() -> list[Example]:
    tokenizer = load_tokenizer(resolve_base("embedded"))
    examples = []
    for number, (line, reply) in enumerate(EXCHANGES):
        prompt = render(tokenizer, chat_messages([Message(role="user", content=line)]))
        completion = reply_ids(tokenizer, reply)
        examples.append(
            Example(
                prompt_id=str(number), cluster="m0", split="train", input_ids=prompt + completion,
                n_prompt_tokens=len(prompt), n_completion_bytes=len(reply),
            )
        )  # fmt: skip
    return examples


@pytest.fixture(scope="module")
def model() -> Any:
    runtime = resolve_runtime(precision="fp32", attention="sdpa")
    return load_base(resolve_base("embedded"), runtime=runtime, quantization="none").eval()


def logits(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(**inputs).logits[0].float().cpu()
    return result


def worst_difference(model: Any, packed: torch.Tensor, pack: list[Example], flat: FlatPack) -> list[float]:
    """Largest difference of any logit to the example alone, by example."""
    differences = []
    for number, example in enumerate(pack):
        alone = logits(model, input_ids=torch.tensor([example.input_ids], device=model.device))
        here = packed[int(flat.borders[number]) : int(flat.borders[number + 1])]
        differences.append(float((here - alone).abs().max()))
    return differences


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_and_alone_agree_and_the_wrong_ways_do_not(model: Any, pack: list[Example], attention: str) -> None:
    model.set_attn_implementation(attention)
    flat = flatten(pack)
    packed = logits(model, **flat.model_inputs(is_variable_length=False))
    assert max(worst_difference(model, packed, pack, flat)) < 1e-4
    ones = logits(
        model,
        input_ids=flat.input_ids,
        position_ids=flat.position_ids,
        attention_mask=torch.ones_like(flat.input_ids),
        use_cache=False,
    )
    cached = logits(model, input_ids=flat.input_ids, position_ids=flat.position_ids, use_cache=True)
    for leaking in (ones, cached):
        first, *others = worst_difference(model, leaking, pack, flat)
        assert first < 1e-4  # nothing stands before the first
        assert min(others) > 1


def test_only_loss_positions_give_the_same_logits(model: Any, pack: list[Example]) -> None:
    model.set_attn_implementation("sdpa")
    flat = flatten(pack)
    inputs = flat.model_inputs(is_variable_length=False)
    every = logits(model, **inputs)
    kept = logits(model, **inputs, logits_to_keep=flat.loss_positions)
    assert torch.allclose(kept, every[flat.loss_positions], atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlashAttention needs CUDA")
def test_flash_attention_isolates_too(pack: list[Example]) -> None:
    pytest.importorskip("flash_attn")
    runtime = resolve_runtime(precision="bf16", attention="flash_attention_2")
    flashed = load_base(resolve_base("embedded"), runtime=runtime, quantization="none").eval()
    flat = flatten(pack)
    inputs = {
        key: value.to("cuda") if torch.is_tensor(value) else value
        for key, value in flat.model_inputs(is_variable_length=True).items()
    }
    packed = logits(flashed, **inputs)
    assert max(worst_difference(flashed, packed, pack, flat)) < 0.5  # bfloat16 rounding; a leak is above 1
