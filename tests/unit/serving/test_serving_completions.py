"""`/v1/completions` and `/v1/responses`: texts gone on with, how likely a prompt's tokens are, and the newer form."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from servers import Running

from harness.models.bases import base_folder
from harness.models.detokenizing import token_bytes
from harness.types import BaseModel

CHAT = [{"role": "user", "content": "Where were you?"}]
MODELS = ("base", "film/1", "dora/1")


def _post(server: Running, **body: Any) -> httpx.Response:
    body = {"model": "base", "prompt": "Where were", "max_tokens": 6, "temperature": 0, **body}
    return httpx.post(f"{server.url}/v1/completions", json=body, timeout=None)


def test_echoed_log_probabilities_are_those_of_the_model_however_long_the_prompt(
    server: Running, base: BaseModel
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base_folder(base), dtype=torch.float32)
    ids = [server.service.model.tokenizer.encode("x y z " * n)[:n] for n in (1, 2, 30, 257, 400)]
    found = _post(server, prompt=ids, max_tokens=1, echo=True, logprobs=2).json()["choices"]
    for tokens, choice in zip(ids, found, strict=True):
        told = choice["logprobs"]
        with torch.no_grad():
            expected = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        assert told["token_logprobs"][0] is None
        assert told["top_logprobs"][0] is None
        assert len(told["tokens"]) == len(tokens) + 1
        for at in range(1, len(tokens)):
            assert told["token_logprobs"][at] == pytest.approx(float(expected[at - 1, tokens[at]]), abs=1e-4)
            assert told["top_logprobs"][at][told["tokens"][at]] == told["token_logprobs"][at]
            assert max(told["top_logprobs"][at].values()) == pytest.approx(float(expected[at - 1].max()), abs=1e-4)
        assert "".join(told["tokens"][:-1]) == choice["text"][: told["text_offset"][-1]]


@pytest.mark.parametrize("model", MODELS)
def test_what_might_be_drawn_is_as_likely_when_it_is_asked_about(server: Running, model: str) -> None:
    tokenizer = server.service.model.tokenizer
    prompt = tokenizer.encode("Where were you last night?")
    drawn = _post(server, model=model, prompt=prompt, max_tokens=1, logprobs=20).json()["choices"][0]["logprobs"]
    spelled = [token_bytes(tokenizer, token).decode("utf-8", "replace") for token in range(len(tokenizer))]
    asked = [
        token for token, text in enumerate(spelled) if text in drawn["top_logprobs"][0] and spelled.count(text) == 1
    ]
    found = _post(
        server, model=model, prompt=[[*prompt, token] for token in asked[:9]], max_tokens=0, echo=True, logprobs=0
    )
    for token, choice in zip(asked, found.json()["choices"], strict=False):
        told = choice["logprobs"]
        assert told["tokens"] == [spelled[one] for one in (*prompt, token)]
        assert told["token_logprobs"][-1] == pytest.approx(drawn["top_logprobs"][0][spelled[token]], abs=1e-4)
    assert len(asked) >= 4


def test_a_text_is_the_same_whole_and_streamed_and_for_each_prompt(server: Running) -> None:
    with server.client() as opened:
        client: Any = opened
        asked: dict[str, Any] = {"model": "film/1", "max_tokens": 8, "seed": 3, "temperature": 0.9}
        both = client.completions.create(prompt=["Where were", "Hello"], n=2, **asked)
        assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
        assert (
            client.completions.create(prompt="Où ça ? 🙂", echo=True, **asked).choices[0].text.startswith("Où ça ? 🙂")
        )
        alone = client.completions.create(prompt="Hello", n=2, echo=True, **asked)
        assert [c.text for c in alone.choices] == ["Hello" + c.text for c in both.choices[2:]]
        pieces = ["", ""]
        usage = None
        options = {"include_usage": True}
        for chunk in client.completions.create(
            prompt="Hello", n=2, echo=True, stream=True, stream_options=options, **asked
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces[choice.index] += choice.text
        assert pieces == [c.text for c in alone.choices]
        assert usage == alone.usage


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"max_tokens": 0}, None),
        ({"prompt": ["a", "b"], "stream": True}, None),
        ({"echo": True, "logprobs": 1, "n": 2}, None),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt": "x" * 600}, "messages"),
    ],
)
def test_a_wrong_value_is_named(server: Running, change: dict[str, Any], param: str | None) -> None:
    response = _post(server, **change)
    assert response.status_code == 400
    found = response.json()["error"]["param"]
    assert found is None if param is None else found.split(".")[0] == param


def test_the_newer_form_says_what_the_chat_says(server: Running) -> None:
    with server.client() as opened:
        client: Any = opened
        chat = [{"role": "system", "content": "Be brief."}, *CHAT]
        said = client.chat.completions.create(model="film/1", messages=chat, max_tokens=9, temperature=0)
        asked: dict[str, Any] = {
            "model": "film/1",
            "instructions": "Be brief.",
            "max_output_tokens": 9,
            "temperature": 0,
        }
        whole = client.responses.create(input=CHAT[0]["content"], tools=[], store=False, **asked)
        assert whole.output_text == said.choices[0].message.content
        assert (whole.status == "completed") == (said.choices[0].finish_reason == "stop")
        assert whole.usage is not None
        assert said.usage is not None
        assert whole.usage.total_tokens == said.usage.total_tokens
        events = list(client.responses.create(input=[*CHAT], stream=True, **asked))
        assert (
            "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
        )
        assert [event.sequence_number for event in events] == list(range(len(events)))
        again = [*CHAT, *(item.model_dump() for item in whole.output), {"role": "user", "content": "And then?"}]
        assert client.responses.create(input=again, **asked).output_text is not None
        for wrong in ({"text": {"format": {"type": "json_object"}}}, {"previous_response_id": "resp_1"}):
            with pytest.raises(openai.BadRequestError):
                client.responses.create(input="Hi", **asked, **wrong)
