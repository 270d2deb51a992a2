"""The gate of characters and JSON: what is refused, what is repaired, what is absence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.doors.text import is_absent, parse_json, read_id, repair_json, repair_text, shown
from harness.errors import CorpusError, InputError

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # surrogates and NUL too
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', 'stand once in an object, got "a" again'),
        ("[NaN]", "finite, got NaN"),
        ("-Infinity", "finite, got -Infinity"),
        ("1e999", "finite"),
        ("9" * 5000, "at most 308 digits, got 5,000"),
        ("[" * 100_000 + "]" * 100_000, "nest at most 64"),
        ('{"a":' * 65 + "1" + "}" * 65, "nest at most 64"),
        ("[" * 100_000, "nest at most 64"),
        ('"' + "x" * 200, "at most 100 characters, got 201"),
        (r'{"a": ["\ud83d"]}', "`a` must be text that UTF-8 can hold, got the lone surrogate U+D83D at character 1"),
        (r'{"a\u0000": 1}', "`a key` must be text that UTF-8 can hold, got NUL at character 2"),
        ("{oops", "must be JSON, it is not"),
    ],
)
def test_json_that_breaks_a_bound_is_one_sentence_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(CorpusError) as caught:
        parse_json(text, file="rows.jsonl", line=3, max_chars=100 if "x" * 200 in text else 2**20)
    assert str(caught.value).startswith("`rows.jsonl` line 3: ")
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_json_within_its_bounds_is_what_it_says() -> None:
    deep = "[" * 64 + "]" * 64
    assert json.dumps(parse_json(deep, file="f")) == deep
    marks = '{"a": "' + '\\"[{' * 100 + '"}'  # brackets in a text nest nothing
    assert parse_json(marks, file="f") == {"a": '"[{' * 100}
    assert parse_json('\ufeff{"a": "\\ud83d\\ude00"}', file="f") == {"a": "😀"}


@given(ANY_JSON)
@settings(max_examples=80, deadline=None)
def test_whatever_json_holds_it_is_refused_in_a_sentence_or_can_be_stored(value: Any) -> None:
    text = json.dumps(value)
    try:
        strict = parse_json(text, file="f")
    except CorpusError as err:
        str(err).encode()
    else:
        json.dumps(strict, ensure_ascii=False, allow_nan=False).encode()
    shown(value).encode()
    repaired = repair_json(value).value
    assert "\0" not in str(repaired)
    json.dumps(repaired, ensure_ascii=False).encode()


@given(st.text(st.characters(exclude_categories=()), max_size=40))
@settings(max_examples=50, deadline=None)
def test_no_text_that_is_no_json_ends_in_another_error(text: str) -> None:
    try:
        parse_json(text, file="f")
    except CorpusError as err:
        str(err).encode()


def test_repairs_are_counted() -> None:
    repaired = repair_text("\ufeffa \ud83d\ude00 b \ud83d c \0 \ufeff")
    assert (repaired.text, repaired.n) == ("a 😀 b \ufffd c \ufffd \ufeff", 4)
    assert repair_text("plain 😀").n == 0


@pytest.mark.parametrize("text", [None, "", " \n", "\u200b", "\u2060\u200d", "\ufeff", "\u3164", "\ufe0f", "\x00\x07"])
def test_what_nobody_can_read_is_absence(text: str | None) -> None:
    assert is_absent(text)
    assert read_id(text, "id") is None


@pytest.mark.parametrize("value", [1.0, True, False, [1], {"a": 1}, "a\0", "\udc00"])
def test_what_is_no_id(value: object) -> None:
    with pytest.raises(InputError, match="`id` must be"):
        read_id(value, "id")


def test_ids_are_text() -> None:
    assert (read_id(7, "id"), read_id("7", "id"), read_id("é", "id")) == ("7", "7", "é")
    assert not is_absent("\ufffd")
