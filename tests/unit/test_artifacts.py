from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import types
from harness.errors import InputError, IntegrityError
from harness.store import artifacts
from harness.types import Generation, Message, Prompt, Score, SmallestEffect, Source

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def has_no_rule(kind: object) -> bool:
    return dataclasses.is_dataclass(kind) and not hasattr(kind, "__post_init__")


def a_prompt(text: str = "Hello?") -> Prompt:
    messages = (Message(role="user", content=text, name="ANNA"),)
    return Prompt(id="p1", messages=messages, split="test", cluster="m0", reference="Hi.")


@settings(max_examples=40, deadline=None)
@given(noun=st.one_of([st.from_type(kind) for kind in vars(types).values() if has_no_rule(kind)]))
def test_every_noun_survives_json(noun: Any) -> None:
    text = json.dumps(noun, default=lambda it: dict(it) if isinstance(it, Mapping) else dataclasses.asdict(it))
    assert json.dumps(artifacts.to_json(noun)) == text
    assert json.dumps(artifacts.to_json(artifacts.from_json(type(noun), json.loads(text)))) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(text=TEXT)
def test_a_noun_survives_jsonl_and_parquet_whatever_its_text(tmp_path: Path, text: str) -> None:
    nouns = [a_prompt(text), a_prompt(text + "\u2028\x85\n")]
    artifacts.write_jsonl(tmp_path / "p.jsonl", nouns)
    artifacts.write_parquet(tmp_path / "p.parquet", nouns, Prompt)
    assert artifacts.read_jsonl(tmp_path / "p.jsonl", Prompt) == nouns
    assert artifacts.read_parquet(tmp_path / "p.parquet", Prompt) == nouns


def test_parquet_keeps_missing_apart_from_zero(tmp_path: Path) -> None:
    scores = [
        Score(item_id="a", criterion="fluency", judge_id="j", value=0.0, status="ok", probabilities=(0.5, 0.5)),
        Score(item_id="b", criterion="fluency", judge_id="j", value=None, status="empty"),
    ]
    file = tmp_path / "s.parquet"
    artifacts.write_parquet(file, scores, Score)
    assert artifacts.read_parquet(file, Score) == scores
    assert artifacts.read_parquet(file, Score, where={"item_id": ["b"], "criterion": ["fluency"]}) == scores[1:]
    assert artifacts.read_parquet(file, Score, where={"item_id": []}) == []


def test_parquet_keeps_mappings(tmp_path: Path) -> None:
    source = Source(run_id="r", artifact="scores.parquet", where={"variant": "base"}, digest="0")
    artifacts.write_parquet(tmp_path / "s.parquet", [source], Source)
    assert artifacts.read_parquet(tmp_path / "s.parquet", Source) == [source]


def test_parquet_bytes_depend_on_the_nouns_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        artifacts.write_parquet(tmp_path / name, [a_prompt()] * 3, Prompt)
    assert artifacts.digest_file(tmp_path / "a") == artifacts.digest_file(tmp_path / "b")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"role": "user", "content": "a", "x": 1}', "`x` is not a key of Message; its keys are role, content, name"),
        ('{"role": "user"}', "`content` is required"),
        ('{"role": "usr", "content": "a"}', "`role`: Input should be 'system', 'user' or 'assistant', got \"usr\""),
        ('{"role": "user", "content": 5}', "`content`: Input should be a valid string, got 5"),
        ("[1]", "`Message`: Input should be an object, got [1]"),
        ("null", "`Message`: Input should be an object, got null"),
        ("{", '`Message`: Invalid JSON: EOF while parsing an object at line 1 column 1, got "{"'),
    ],
)
def test_jsonl_errors_name_file_line_and_key(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"role": "user", "content": "a"}}\n{line}\n')
    with pytest.raises(InputError) as raised:
        artifacts.read_jsonl(path, Message)
    assert str(raised.value) == f"`{path}` line 2: {sentence}"


def test_parquet_of_another_noun_is_refused_with_its_first_row(tmp_path: Path) -> None:
    artifacts.write_parquet(tmp_path / "p.parquet", [a_prompt()] * 9, Prompt)
    with pytest.raises(InputError, match=r"p\.parquet`: `0\.item_id` is required \(and 9 more\)"):
        artifacts.read_parquet(tmp_path / "p.parquet", Score)


def test_jsonl_mends_a_lone_surrogate_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    artifacts.write_jsonl(path, [Message(role="user", content="NaN \ud800")])
    assert artifacts.read_jsonl(path, Message) == [Message(role="user", content="NaN \ufffd")]
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.write_jsonl(path, [SmallestEffect(value=float("nan"), unit="share")])


def a_generation(draw: int) -> Generation:
    return Generation(
        prompt_id="p", variant="v", draw=draw, text="a\u2028b", seed=1, n_tokens=2, finish_reason="stop", cluster="m"
    )


def test_a_journal_drops_exactly_the_torn_line_at_every_cut(tmp_path: Path) -> None:
    whole = artifacts.Journal(tmp_path / "whole.jsonl", Generation)
    whole.append(*(a_generation(i) for i in range(3)))
    data = whole.path.read_bytes()
    for cut in range(len(data) + 1):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut])
        journal = artifacts.Journal(path, Generation)
        n_whole = data[:cut].count(b"\n")
        assert journal.records() == [a_generation(i) for i in range(n_whole)]
        journal.append(a_generation(9))
        assert len(journal.records()) == n_whole + 1


def test_a_manifest_notices_change_and_loss(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "sub" / "b.txt").write_text("two")
    with pytest.raises(InputError, match="has not finished"):
        artifacts.verify_manifest(tmp_path)
    assert artifacts.write_manifest(tmp_path).keys() == {"a.txt", "sub/b.txt"}
    artifacts.verify_manifest(tmp_path)
    (tmp_path / "a.txt").write_text("changed")
    with pytest.raises(IntegrityError, match=r"a\.txt"):
        artifacts.verify_manifest(tmp_path)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(IntegrityError, match="not there"):
        artifacts.verify_manifest(tmp_path)


def test_a_folder_digest_ignores_where_the_folder_lies(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "f").write_text("same")
    assert artifacts.digest_folder(tmp_path / "x") == artifacts.digest_folder(tmp_path / "y")
    (tmp_path / "y" / "sub" / "f").rename(tmp_path / "y" / "sub" / "g")
    assert artifacts.digest_folder(tmp_path / "x") != artifacts.digest_folder(tmp_path / "y")


def test_a_json_digest_ignores_key_order_and_refuses_nan() -> None:
    assert artifacts.digest_json({"a": 1, "b": 2}) == artifacts.digest_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.digest_json({"a": float("nan")})
