"""Rows that sequences share against a row for each, under every attention that a recipe may name."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from fakes import tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ScreentestError
from harness.models.devices import ADDS_MASKS, Attention, resolve_attention
from harness.models.local import LocalModel
from harness.models.protocol import ContinuationRequest
from harness.types import Example
from pipelines.training.packing import flatten
from pipelines.training.pair_rows import PairIds, lay_out
from pipelines.training.recipe import DpoRecipe, SftRecipe

IDS = st.lists(st.integers(3, 258), min_size=1, max_size=6).map(tuple)
MODELS = {(kind, how): tiny_model(kind=kind) for kind in ("llama", "qwen2") for how in ADDS_MASKS}
for (_, how), model in MODELS.items():
    model.set_attn_implementation(how)
every_attention = pytest.mark.parametrize("model", MODELS.values(), ids=["-".join(key) for key in MODELS])


def logprobs(model: Any, ids: tuple[int, ...], **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**inputs or {"input_ids": torch.tensor([ids])}).logits[0].log_softmax(-1)
    return found


def alone(model: Any, prompt: tuple[int, ...], reply: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities of a reply's tokens in a row of its own."""
    rows = logprobs(model, (*prompt, *reply))[len(prompt) - 1 : -1]
    return rows.gather(1, torch.tensor(reply)[:, None])[:, 0]


@every_attention
@given(prompts=st.lists(IDS, min_size=1, max_size=2), replies=st.lists(IDS, min_size=4, max_size=4))
@settings(max_examples=8)
def test_a_tree_gives_each_reply_what_a_row_of_its_own_gives(
    model: Any, prompts: list[tuple[int, ...]], replies: list[tuple[int, ...]]
) -> None:
    pairs = [
        PairIds(prompt_id="", cluster="", chat=(), prompt=p, chosen=replies[2 * i], rejected=replies[2 * i + 1])
        for i, p in enumerate(prompts)
    ]
    row = lay_out(pairs, ld_alpha=None)
    tree = logprobs(model, (), **row.model_inputs()).gather(1, row.targets[:, None])[:, 0]
    each = [alone(model, pair.prompt, reply) for side in (0, 1) for pair in pairs for reply in [pair.replies[side]]]
    assert torch.allclose(tree, torch.cat(each), atol=1e-4)


@every_attention
@given(st.lists(IDS, min_size=1, max_size=4))
@settings(max_examples=8)
def test_a_pack_gives_each_example_what_a_row_of_its_own_gives(model: Any, sequences: list[tuple[int, ...]]) -> None:
    made: Any = {"prompt_id": "", "cluster": "", "split": "train", "n_prompt_tokens": 1, "n_completion_bytes": 1}
    flat = flatten([Example(input_ids=(5, *ids), **made) for ids in sequences])
    packed = logprobs(model, (), **flat.model_inputs(is_variable_length=False))
    each = [logprobs(model, (5, *ids)) for ids in sequences]
    assert torch.allclose(packed, torch.cat(each), atol=1e-4)


@every_attention
def test_scores_in_trees_are_those_of_padded_rows_under_the_attention_that_was_named(model: Any) -> None:
    local = LocalModel(model, tiny_tokenizer())
    named = model.config._attn_implementation
    chat = [{"role": "user", "content": "Where are you, and why?"}]
    requests = [ContinuationRequest(key=r, messages=chat, reply=r) for r in ("Here.", "Her", "By the door", "")]
    trees = local.continuation_logprobs(requests)
    local.bank.is_plain = False  # padded batches, which take no free mask
    for tree, row in zip(trees, local.continuation_logprobs(requests), strict=True):
        assert tree.logprobs == pytest.approx(row.logprobs, abs=1e-4)
        assert tree.end_logprob == pytest.approx(row.end_logprob, abs=1e-4)
    assert model.config._attn_implementation == named


@pytest.mark.parametrize("named", ["flex_attention", "flash_attention_2"])
def test_a_model_in_memory_whose_attention_takes_no_free_mask_is_scored_under_sdpa(named: str) -> None:
    model = tiny_model()
    local = LocalModel(model, tiny_tokenizer())
    chat = [{"role": "user", "content": "Where are you, and why?"}]
    requests = [ContinuationRequest(key=r, messages=chat, reply=r) for r in ("Here.", "Her", "By the door", "")]
    under_sdpa = local.continuation_logprobs(requests)
    model.config._attn_implementation = named
    assert local.continuation_logprobs(requests) == under_sdpa
    assert model.config._attn_implementation == named


def test_every_attention_that_can_be_named_is_tested_here_or_refused_where_it_cannot_run() -> None:
    offered = {*get_args(Attention), "flex_attention"}
    for recipe in (SftRecipe, DpoRecipe):
        offered |= set(get_args(recipe.model_fields["attention"].annotation))
    refused = {"flash_attention_2", "flex_attention"}
    for named in offered - refused:
        assert resolve_attention(named, "cpu") in ADDS_MASKS
    for named in refused:
        with pytest.raises(ScreentestError, match="`attention`"):
            resolve_attention(named, "cpu")  # type: ignore[arg-type]
