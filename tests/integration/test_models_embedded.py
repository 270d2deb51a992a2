"""The embedded model itself: it is the model it claims to be, and keeps the promises made on tiny ones."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from harness.models.bases import load_tokenizer, resolve_base
from harness.models.chat_templates import chat_format, chat_messages, render, reply_ids
from harness.models.local import LocalModel
from harness.models.protocol import ContinuationRequest, OptionRequest, ReplyRequest
from harness.types import Decoding, Message

pytestmark = [pytest.mark.model, pytest.mark.slow]

LINES = (
    "Where were you last night?",
    "You said you'd call.",
    "I waited for an hour in the rain, and then I walked home, and nobody came, and nobody called.",
    "Is that blood?",
    "Drive.",
    "What do you want from me?",
)
CHATS = [chat_messages([Message(role="user", content=line)]) for line in LINES]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(resolve_base("embedded"))


def test_the_conversion_is_whole_and_its_tokenizer_knows_chatml() -> None:
    base = resolve_base("embedded")
    tokenizer = load_tokenizer(base)
    assert base.family == "smollm2"
    assert (chat_format(tokenizer).end_id, tokenizer.eos_token, tokenizer.bos_token) == (
        2,
        "<|im_end|>",
        "<|im_start|>",
    )
    text = "  It's 1994 — “really”?\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert render(tokenizer, [{"role": "system", "content": "Hi"}, {"role": "user", "content": "Yo"}])[0] == 1


def test_it_answers_in_english_and_stops(model: LocalModel) -> None:
    chat = [
        {"role": "system", "content": "You are a helpful AI assistant."},
        {"role": "user", "content": "What is the capital of France? Answer in one short sentence."},
    ]
    [reply] = model.generate(
        [ReplyRequest(key="paris", messages=chat)], decoding=Decoding(max_new_tokens=32, temperature=0)
    )
    assert "Paris" in reply.text
    assert reply.finish_reason == "stop"


def test_replies_do_not_hang_on_batch_size_or_order(model: LocalModel) -> None:
    decoding = Decoding(max_new_tokens=16)
    requests = [ReplyRequest(key=f"p{i}", messages=chat) for i, chat in enumerate(CHATS)]
    together = model.generate(requests, decoding=decoding)
    assert model.generate(requests[::-1], decoding=decoding, batch_size=4)[::-1] == together
    assert model.agreement_rate(requests, [r.text for r in together], decoding=decoding, n=2).share == 1


def test_packed_scores_are_those_of_each_sequence_alone(model: LocalModel) -> None:
    requests = [
        ContinuationRequest(key=f"{i}{j}", messages=chat, reply=reply)
        for i, chat in enumerate(CHATS[:3])
        for j, reply in enumerate(("At home.", "I don't know.", "Drive, he said."))
    ]
    together = model.continuation_logprobs(requests)
    bare = model.bank._bare
    for request, found in list(zip(requests, together, strict=True))[::4]:
        context = render(model.tokenizer, request.messages)
        reply = reply_ids(model.tokenizer, request.reply)
        with torch.inference_mode():
            logits = bare(input_ids=torch.tensor([context + reply])).logits[0].log_softmax(-1)
        expected = [float(logits[len(context) - 1 + k, t]) for k, t in enumerate((*reply, 2))]
        assert [*found.logprobs, found.end_logprob] == pytest.approx(expected, abs=1e-3)


def test_a_fitting_reply_is_likelier_than_its_words_in_disorder(model: LocalModel) -> None:
    fitting, shuffled = model.continuation_logprobs(
        [
            ContinuationRequest(key="a", messages=CHATS[0], reply="I was at home with my wife."),
            ContinuationRequest(key="b", messages=CHATS[0], reply="home wife at I my with was."),
        ]
    )
    assert fitting.total > shuffled.total + 5


def test_scores_one_to_five_are_single_tokens_at_the_forced_place(model: LocalModel) -> None:
    request = OptionRequest(key="k", messages=CHATS[0], prefix="Score: ", options=tuple("12345"))
    for found in model.option_probabilities([request, dataclasses.replace(request, messages=CHATS[1])]):
        assert sum(found.probabilities) == pytest.approx(1)
        assert 0 < found.mass <= 1
        assert 0 <= found.entropy <= math.log(5) + 1e-9


def test_four_bit_weights_give_nearly_the_same_probabilities(model: LocalModel) -> None:
    requests = [ContinuationRequest(key="a", messages=CHATS[0], reply="I was at home with my wife.")]
    [full] = model.continuation_logprobs(requests)
    [small] = LocalModel.load(resolve_base("embedded"), quantization="nf4").continuation_logprobs(requests)
    assert small.total / small.n_tokens == pytest.approx(full.total / full.n_tokens, abs=0.5)
    assert small.logprobs != full.logprobs
