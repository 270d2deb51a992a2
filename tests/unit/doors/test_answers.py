"""What a model answers is told apart, whatever its server makes of it, and nothing that arrives raises."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.doors.answers import (
    closes_unopened,
    is_deep,
    listed_tokens,
    opens_thinking,
    part_thinking,
    provider_error,
    raw_text,
    read_answer,
    reply_start,
    server_sentence,
)

ERROR = {"code": 502, "message": "Provider returned error"}


def answer(content: Any = "Well.", finish: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content} | message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("body", "status", "text", "finish"),
    [
        (answer(), "ok", "Well.", "stop"),
        (answer(" Well.\n", "length"), "ok", "Well.", "length"),
        (answer(finish="max_tokens"), "ok", "Well.", "length"),
        (answer(finish="end_turn"), "ok", "Well.", "stop"),
        (answer(finish=None), "ok", "Well.", "unknown"),
        (answer(finish={"reason": "stop"}), "ok", "Well.", "unknown"),
        (answer([{"type": "text", "text": "We"}, {"type": "output_text", "text": "ll."}]), "ok", "Well.", "stop"),
        (answer(["We", {"text": "ll."}]), "ok", "Well.", "stop"),
        (answer({"type": "text", "text": {"value": "Well."}}), "ok", "Well.", "stop"),
        (answer(""), "ok", "", "stop"),
        (answer("", "length", reasoning_content="I think"), "ok", "", "length"),
        (answer(None, "length"), "ok", "", "length"),
        (answer(None, refusal="I cannot."), "refused", "", "unknown"),
        (answer([{"type": "refusal", "refusal": "I cannot."}]), "refused", "", "unknown"),
        (answer(None, "content_filter"), "refused", "", "unknown"),
        (answer("Half a", "content_filter: SAFETY"), "refused", "", "unknown"),
        (answer(None), "failed", "", "stop"),
        (answer(7), "failed", "", "stop"),
        (answer([{"type": "image_url", "image_url": {}}]), "failed", "", "stop"),
        (answer(None, "tool_calls", tool_calls=[{"id": "1"}]), "failed", "", "unknown"),
        (answer("", "tool_calls", function_call={"name": "f"}), "failed", "", "unknown"),
        (answer("Well.", "tool_calls", tool_calls=[{"id": "1"}]), "ok", "Well.", "unknown"),
        (answer("", "error"), "failed", "", "unknown"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "stop", "error": ERROR}]}, "failed", "", "unknown"),
        ({"error": ERROR}, "failed", "", "unknown"),
        ({"choices": []}, "failed", "", "unknown"),
        ([], "failed", "", "unknown"),
        (None, "failed", "", "unknown"),
    ],
)
def test_every_shape_of_an_answer_is_one_of_three_things(body: Any, status: str, text: str, finish: str) -> None:
    said = read_answer(body)
    assert (said.status, said.text, said.finish) == (status, text, finish)
    assert bool(said.reason) == (status != "ok")


@pytest.mark.parametrize(
    ("raw", "text", "thinking", "finish"),
    [
        ("<think>\nHm.\n</think>\n\nWell.", "Well.", "Hm.", "stop"),
        ("Hm.\n</think>\nWell.", "Well.", "Hm.", "stop"),  # the prompt has opened it
        ("<think>Hm", "", "Hm", "length"),
        ("<Think>a</THINK >b", "b", "a", "stop"),
        ("[THINK]a[/THINK]b", "b", "a", "stop"),
        ("<thinking>a</thinking>b<think>c</think> d", "b d", "a\nc", "stop"),
        ("<think>a<think>b</think>c</think>d", "d", "a\nb\nc", "stop"),
        ("Well.<think>but", "Well.", "but", "length"),
        ("<think></think>", "", "", "stop"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
         "b", None, "stop"),
        ("I think < you, > me", "I think < you, > me", "", "stop"),
    ],
)  # fmt: skip
def test_thinking_is_kept_apart(raw: str, text: str, thinking: str | None, finish: str) -> None:
    said = read_answer(answer(raw))
    assert (said.status, said.text, said.finish) == ("ok", text, finish)
    assert thinking is None or said.thinking == thinking
    kept = read_answer(answer(raw), keep_thinking=True)
    assert (kept.text, kept.thinking, kept.finish) == (raw, "", "stop")


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
        {"thinking": "Hm."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, "Well."]},
    ],
)  # fmt: skip
def test_thinking_in_fields_is_kept_apart_too(message: dict[str, Any]) -> None:
    said = read_answer(answer(**({"content": "Well."} | message)))
    assert (said.text, said.thinking, said.status) == ("Well.", "Hm.", "ok")
    kept = read_answer(answer(**({"content": "Well."} | message)), keep_thinking=True)
    assert kept.text == "<think>\nHm.\n</think>\n\nWell."


def test_a_prompt_that_opens_thinking_is_known_by_its_end() -> None:
    assert opens_thinking("<|im_start|>assistant\n<think>\n")
    assert not opens_thinking("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not opens_thinking("Say <think> and nothing else.<|im_end|>assistant\n")
    assert part_thinking("still at it", finish="length", is_open=True).text == ""
    assert read_answer(answer("still at it", "length"), opens_thinking=True).thinking == "still at it"
    assert read_answer(answer("Well.", "stop"), opens_thinking=True).text == "Well."
    assert closes_unopened("Hm</think>Well.")
    assert not closes_unopened("<think>Hm</think>Well.")


def test_what_cannot_be_stored_is_repaired_and_counted() -> None:
    said = read_answer(answer("Well \ud83d no.\0"))
    assert (said.text, said.n_repaired) == ("Well \ufffd no.\ufffd", 2)
    assert read_answer(answer("<think>\udc00</think>x")).n_repaired == 1


def test_an_error_inside_an_answer_is_told_in_the_provider_s_words() -> None:
    assert provider_error({"error": ERROR}) == "the provider failed: Provider returned error"
    assert provider_error(answer("", "error")) == "the provider failed: it gives no reason"
    assert provider_error(answer() | {"error": None}) is None


def position(*tokens: tuple[str, float], drawn: int = 0) -> dict[str, Any]:
    listed = [{"token": t, "logprob": math.log(p), "bytes": list(t.encode())} for t, p in tokens]
    return listed[drawn] | {"top_logprobs": listed}


def test_a_token_listed_twice_counts_once_and_another_of_its_text_by_itself() -> None:
    def tokens(of: dict[str, Any]) -> list[str]:
        return [t["token"] for t in listed_tokens(of) or []]

    assert tokens(position(("4", 0.5), ("4", 0.5), ("3", 0.3))) == ["4", "3"]
    assert tokens(position(("4", 0.5), (" 4", 0.2), ("3", 0.3))) == ["4", " 4", "3"]
    assert tokens(position(("4", 0.5), ("4", 0.2))) == ["4", "4"]  # not the same: another value
    other = position(("4", 0.5), ("3", 0.3))
    assert tokens(other | {"token": "7"}) == ["4", "3", "7"]  # drawn, and not listed
    assert listed_tokens({"token": "4", "logprob": math.nan}) is None
    assert listed_tokens({"token": 4, "logprob": -1.0}) is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"message": "Use 1.", "param": "temperature", "code": "x"}, "Use 1. (`temperature`)"),
        ({"error": {"message": "It is full."}}, "It is full."),
        ({"error": "model is loading"}, "model is loading"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
         "body.seed: Extra inputs are not permitted"),
        ({"message": "Provider returned error", "metadata": {"raw": "too long"}}, "Provider returned error: too long"),
        ("<html><head><title>x</title></head><body><h1>502 Bad Gateway</h1></body></html>", "502 Bad Gateway"),
        ("bad\n\x1b[31m key sk-abcdef123456 of Bearer abc.def.ghi", "bad [31m key … of …"),
        ("the secret is hunter22!", "the secret is …!"),
        (None, ""),
        (12, ""),
    ],
)  # fmt: skip
def test_a_server_s_sentence_is_shown_without_secrets(body: Any, sentence: str) -> None:
    assert server_sentence(body, secrets=["hunter22", ""]) == sentence
    assert len(server_sentence("word " * 5000)) == 300


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "[THINK]", "hm", " ", "\ud800", "\0", "4", "<thi"]), max_size=8
)
TEXTS = PIECES.map("".join)
FIELDS = ("content", "refusal", "reasoning_content", "reasoning", "reasoning_details", "tool_calls")


@given(
    message=st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, TEXTS | JSON)),
    rest=st.fixed_dictionaries(
        {}, optional={"finish_reason": st.sampled_from(["stop", "length"]) | JSON, "error": JSON}
    ),
    keep=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_arrives_is_read(message: dict[str, Any], rest: dict[str, Any], keep: bool) -> None:
    body = {"choices": [{"message": message} | rest]}
    said = read_answer(body, keep_thinking=keep)
    (said.text + said.thinking).encode()
    assert "\0" not in said.text + said.thinking
    assert (said.status == "ok") == (not said.reason)
    assert said.status == "ok" or not said.text
    assert keep or reply_start(said.text) == 0 or said.thinking
    assert isinstance(server_sentence(message), str)
    assert isinstance(raw_text(body), str)


@given(value=JSON)
@settings(max_examples=50, deadline=None)
def test_no_ordinary_json_is_deep_and_any_value_is_an_answer_of_some_kind(value: Any) -> None:
    assert not is_deep(value)
    assert read_answer(value).status in ("ok", "refused", "failed")
    deep: Any = value
    for _ in range(64):
        deep = [deep]
    assert is_deep(deep)
