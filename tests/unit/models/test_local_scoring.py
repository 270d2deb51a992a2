"""Exact probabilities: against plain forward passes, one sequence at a time."""

from __future__ import annotations

import math

import pytest
import torch
from fakes import tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, InputError
from harness.models import local as local_module
from harness.models.chat_templates import render, reply_ids
from harness.models.local import LocalModel
from harness.models.protocol import ContinuationRequest, OptionRequest, adapter_name
from harness.models.tree import build_groups, build_packs, visibility
from harness.types import Adapter

REPLIES = ("hello", "", "help me", "héll", "hello", "x" * 40)


def _chat(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def _requests(adapters: tuple[str | None, ...] = (None,)) -> list[ContinuationRequest]:
    return [
        ContinuationRequest(key=f"{i}.{j}", messages=_chat("a" * i + "where"), reply=reply, adapter=adapter)
        for i in range(4)
        for j, reply in enumerate(REPLIES)
        for adapter in adapters
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("is_packed", [True, False])
def test_log_probabilities_are_those_of_each_sequence_alone(
    kind: str, is_packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_packed:
        monkeypatch.setattr(local_module, "_PACKABLE", frozenset())
    model, tokenizer = tiny_model(kind=kind), tiny_tokenizer()  # type: ignore[arg-type]
    for request, found in zip(
        _requests(), LocalModel(model, tokenizer).continuation_logprobs(_requests()), strict=True
    ):
        context, reply = render(tokenizer, request.messages), reply_ids(tokenizer, request.reply)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([context + reply])).logits[0].log_softmax(-1)
        targets = [*reply, 2]
        expected = [float(logits[len(context) - 1 + k, token]) for k, token in enumerate(targets)]
        assert [*found.logprobs, found.end_logprob] == pytest.approx(expected, abs=1e-4)
        assert found.n_tokens == len(reply)
        assert found.total == pytest.approx(sum(expected[:-1]), abs=1e-3)


def test_each_request_goes_through_its_own_adapter(
    tiny_local: LocalModel, tiny_adapters: tuple[Adapter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (None, *(adapter_name(a) for a in tiny_adapters))
    requests = _requests(names)
    together = tiny_local.continuation_logprobs(requests)
    for name in names:
        own = [r for r in requests if r.adapter == name]
        for a, b in zip(
            tiny_local.continuation_logprobs(own),
            [c for c, r in zip(together, requests, strict=True) if r.adapter == name],
            strict=True,
        ):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    totals = {name: together[names.index(name)].end_logprob for name in names}
    assert len({round(t, 3) for t in totals.values()}) == len(names)


def test_option_probabilities_are_the_softmax_over_the_options_at_the_forced_place() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    requests = [
        OptionRequest(key=str(i), messages=_chat("b" * i), prefix="Score: ", options=tuple("12345")) for i in range(5)
    ]
    for request, found in zip(requests, LocalModel(model, tokenizer).option_probabilities(requests), strict=True):
        ids = render(tokenizer, request.messages) + reply_ids(tokenizer, "Score: ")
        with torch.no_grad():
            full = model(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1)
        chosen = torch.stack([full[reply_ids(tokenizer, option)[0]] for option in "12345"])
        assert found.mass == pytest.approx(float(chosen.sum()), rel=1e-4)
        closed = (chosen / chosen.sum()).tolist()
        assert found.probabilities == pytest.approx(closed, rel=1e-4)
        assert sum(found.probabilities) == pytest.approx(1)
        assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in closed), rel=1e-4)


@pytest.mark.parametrize("options", [("1", "10"), ("1", "1"), ("1",), ("", "1")])
def test_options_that_are_not_single_tokens_are_refused(tiny_local: LocalModel, options: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        tiny_local.option_probabilities(
            [OptionRequest(key="o", messages=_chat("x"), prefix="Score: ", options=options)]
        )


def test_a_reply_that_does_not_fit_is_refused(tiny_local: LocalModel) -> None:
    with pytest.raises(InputError, match="512 positions"):
        tiny_local.continuation_logprobs([ContinuationRequest(key="r", messages=_chat("x"), reply="y" * 600)])


SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=10)


@settings(max_examples=60)
@given(SEQUENCES, st.integers(1, 20), st.integers(0, 3))
def test_a_node_sees_its_ancestors_and_nothing_else(sequences: list[list[int]], limit: int, n_prefix: int) -> None:
    packs = build_packs(sequences, limit=limit)
    assert sorted(b.index for p in packs for b in p.branches) == list(range(len(sequences)))
    for pack in packs:
        mask = visibility(pack, n_prefix=n_prefix, device="cpu")[0, 0]
        assert pack.n_nodes <= max(limit, *(len(sequences[b.index]) for b in pack.branches))
        for branch in pack.branches:
            assert [pack.tokens[node] for node in branch.path] == sequences[branch.index]
            assert [pack.depths[node] for node in branch.path] == list(range(len(branch.path)))
            for k, node in enumerate(branch.path):
                seen = {int(c) - n_prefix for c in mask[node].nonzero()}
                assert seen == {*range(-n_prefix, 0), *branch.path[: k + 1]}


def test_a_shared_context_stands_once() -> None:
    context = list(range(100))
    [pack] = build_packs([[*context, 200 + i] for i in range(20)], limit=500)
    assert pack.n_nodes == 120


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────

CRITERIA = [tuple(range(c, c + 60)) for c in (100, 300, 500, 700)]
ITEMS = [tuple(range(c, c + 40)) for c in range(1000, 3000, 50)]


def groups(sequences: list[tuple[int, ...]], *, limit: int = 384) -> list[tuple[int, int]]:
    """Sizes and prefixes, largest prefix first."""
    found = build_groups(sequences, n_before=[len(s) - 1 for s in sequences], limit=limit)
    assert sorted(i for g in found for i in g.indices) == list(range(len(sequences)))
    for g in found:
        assert len({sequences[i][: g.n_prefix] for i in g.indices}) == 1
    return [(len(g.indices), g.n_prefix) for g in found]


def test_criteria_that_come_before_the_items_have_a_group_each() -> None:
    start = tuple(range(20))
    assert groups([start + c + i for c in CRITERIA for i in ITEMS]) == [(40, 80)] * 4


def test_items_that_come_before_the_criteria_share_theirs_in_the_packs_of_one_group() -> None:
    start = tuple(range(20))
    assert groups([start + i + c for c in CRITERIA for i in ITEMS]) == [(160, 20)]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60), min_size=1, max_size=12))
def test_groups_never_cost_more_than_one_group_would(sequences: list[list[int]]) -> None:
    tokens = [tuple(s) for s in sequences]
    found = build_groups(tokens, n_before=[len(s) - 1 for s in tokens], limit=24)
    assert sorted(i for g in found for i in g.indices) == list(range(len(tokens)))
    assert sum(g.n_nodes for g in found) <= sum(p.n_nodes for p in build_packs(tokens, limit=24)) + 24 * len(found)
