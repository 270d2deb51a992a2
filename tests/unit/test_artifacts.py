from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import InputError, IntegrityError
from harness.store import artifacts
from harness.types import Generation, Message, Prompt, Score, Source

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)))


def a_prompt(text: str = "Hello?") -> Prompt:
    messages = (Message(role="user", content=text, name="ANNA"),)
    return Prompt(id="p1", messages=messages, split="test", cluster="m0", reference="Hi.")


@given(text=TEXT, reply=st.none() | TEXT)
def test_a_noun_survives_json(text: str, reply: str | None) -> None:
    prompt = Prompt(id="p", messages=(Message(role="user", content=text),), split="train", cluster="c", reference=reply)
    assert artifacts.from_json(Prompt, json.loads(json.dumps(artifacts.to_json(prompt)))) == prompt


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
    artifacts.write_parquet(tmp_path / "s.parquet", scores, Score)
    assert artifacts.read_parquet(tmp_path / "s.parquet", Score) == scores


def test_parquet_keeps_mappings(tmp_path: Path) -> None:
    source = Source(run_id="r", artifact="scores.parquet", where={"variant": "base"}, digest="0")
    artifacts.write_parquet(tmp_path / "s.parquet", [source], Source)
    assert artifacts.read_parquet(tmp_path / "s.parquet", Source) == [source]


def test_parquet_bytes_depend_on_the_nouns_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        artifacts.write_parquet(tmp_path / name, [a_prompt()] * 3, Prompt)
    assert artifacts.digest_file(tmp_path / "a") == artifacts.digest_file(tmp_path / "b")


def test_unknown_and_lacking_keys_are_refused() -> None:
    data = artifacts.to_json(a_prompt())
    with pytest.raises(InputError, match="unknown keys"):
        artifacts.from_json(Prompt, data | {"colour": "red"})
    del data["split"]
    with pytest.raises(InputError, match="split"):
        artifacts.from_json(Prompt, data)


def test_a_literal_outside_its_values_is_refused() -> None:
    with pytest.raises(InputError, match="must be one of train"):
        artifacts.from_json(Prompt, artifacts.to_json(a_prompt()) | {"split": "exam"})


def test_jsonl_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"role": "user", "content": "a"}\n[1]\n')
    with pytest.raises(InputError, match=r"x\.jsonl` line 2"):
        artifacts.read_jsonl(path, Message)


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
