"""Rows of other forms: loaders name the command, the command says what it took for what."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from corpora import jsonl
from fakes import tiny_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stories import screentest

from harness.errors import CorpusError, InputError
from harness.models.recorded import RecordedModel
from pipelines.corpus.convert import Conversion, convert, write
from pipelines.corpus.reading import read_corpus
from pipelines.preferences.pair_files import import_file


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ASKED = [("user", "Q?")]
ALPACA = {"instruction": "Q", "input": "", "output": "A."}
SHAREGPT = {"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]}
OPENAI = {"messages": [said("user", [{"type": "text", "text": "Q?"}]), said("assistant", "A.", reasoning="hm")]}
ULTRA = {
    "prompt": "Q?", "prompt_id": "u", "messages": [said("user", "Q?"), said("assistant", "A.")], "score_chosen": 8.0,
    "chosen": [said("user", "Q?"), said("assistant", "A.")], "rejected": [said("user", "Q?"), said("assistant", "B.")],
}  # fmt: skip
HH = {"chosen": "\n\nHuman: Q?\n\nAssistant: A.", "rejected": "\n\nHuman: Q?\n\nAssistant: B."}
OPENAI_PAIR = {
    "input": {"messages": [said("user", "Q?")]},
    "preferred_output": [said("assistant", "A.")],
    "non_preferred_output": [said("assistant", "B.")],
}
RESPONSE = {"prompt": "Q?", "response": "A.", "notes": "n"}
ORPO = {"prompt": "Q?", "chosen": [said("assistant", "A.")], "rejected": [{"from": "gpt", "value": "B."}]}


def converted(row: dict[str, Any], folder: Path, to: Any) -> Conversion:
    return convert(jsonl(folder / "their own.jsonl", row), to=to)


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({**ALPACA, "instruction": "Q?"}, "Alpaca"), (SHAREGPT, "ShareGPT"), (OPENAI, "OpenAI's messages"),
        (ULTRA, "UltraFeedback"), (HH, "hh-rlhf"), (RESPONSE, "rows of `prompt` and `response`"),
        ({"question": "Q?", "answer": "A."}, "rows of `question` and `answer`"),
        ({"prompt": "Q?", "reference": "A."}, "rows of prompts"),
    ],
)  # fmt: skip
def test_rows_of_every_form_can_be_learned(row: dict[str, Any], form: str, tmp_path: Path) -> None:
    made = converted(row, tmp_path, "sft")
    assert made.form == form
    assert write(made, tmp_path / "out.jsonl") == 1
    (conversation,) = read_corpus(tmp_path / "out.jsonl").conversations
    assert [(u.speaker_id, u.text) for u in conversation.utterances] == [*ASKED, ("assistant", "A.")]
    with pytest.raises(InputError, match="must not be there yet"):
        write(made, tmp_path / "out.jsonl")


@pytest.mark.parametrize("row", [ULTRA, HH, OPENAI_PAIR, ORPO, {"question": "Q?", "chosen": "A.", "rejected": "B."}])
def test_preferences_of_every_form_can_be_imported(row: dict[str, Any], tmp_path: Path) -> None:
    write(converted(row, tmp_path, "pairs"), tmp_path / "out.jsonl")
    (pair,) = import_file(tmp_path / "out.jsonl").pairs
    assert ([(m.role, m.content) for m in pair.prompt.messages], pair.chosen, pair.rejected) == (ASKED, "A.", "B.")


def test_replies_find_the_prompts_of_the_same_file(tmp_path: Path) -> None:
    theirs = jsonl(tmp_path / "a.jsonl", RESPONSE, {**RESPONSE, "response": "Again."}, {**RESPONSE, "prompt": "Else?"})
    write(convert(theirs, to="prompts"), tmp_path / "prompts.jsonl")
    write(convert(theirs, to="replies"), tmp_path / "replies.jsonl")
    replies = RecordedModel.load(tmp_path / "replies.jsonl")
    prompts = {c.id for c in read_corpus(tmp_path / "prompts.jsonl").conversations}
    assert replies.prompt_ids == prompts
    assert (replies.n_generations, len(prompts)) == (3, 2)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = [
        {**ALPACA, "source": "web"}, {**ALPACA, "output": "\u200b"}, {**SHAREGPT, "id": 1.5},
        {"messages": [said("user", [{"type": "image_url"}]), said("assistant", "A.")]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "function_call", "value": "{}"}]},
        OPENAI,
    ]  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(rows))
    made = convert(tmp_path / "list.json", to="sft")
    assert made.left_out == {
        "rows without a reply": 1,
        "rows with an id or a cluster that is no text": 1,
        "rows with images, sounds or files": 1,
        "rows with calls of tools or unknown roles": 1,
    }
    assert made.taken["prompt from `instruction`"] == "1 rows"
    assert (made.unread, made.n_thoughts, len(made.rows)) == ({"source": 1}, 1, 2)
    with pytest.raises(CorpusError, match="that can be read as pairs, got 2 rows without two replies"):
        convert(jsonl(tmp_path / "b.jsonl", ALPACA, SHAREGPT), to="pairs")


def test_the_command_shows_the_first_row_through_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = tiny_checkpoint(tmp_path / "tiny")
    theirs = jsonl(tmp_path / "their [own].jsonl", HH)
    ran = screentest("data", "convert", theirs, "--to", "pairs", "--base", base, home=tmp_path / "home")
    assert ran.code == 0, ran.stderr
    assert "1 rows in their [own]-pairs.jsonl, from hh-rlhf\n  chosen from `chosen` (1 rows)" in ran.stderr
    assert "Next: screentest pairs import 'their [own]-pairs.jsonl'" in ran.stderr
    first, rejected = ran.stdout.split("— rejected —")
    assert "Q?" in first
    assert "A." in first
    assert "B." in rejected


@pytest.mark.parametrize("row", [ALPACA, SHAREGPT, OPENAI, HH, ULTRA, RESPONSE])
def test_a_loader_that_meets_another_form_says_the_command(row: dict[str, Any], tmp_path: Path) -> None:
    path = jsonl(tmp_path / "their own.jsonl", row)
    with pytest.raises(CorpusError) as caught:
        read_corpus(path)
    assert f"`screentest data convert '{path}' --to sft`" in str(caught.value)
    with pytest.raises(CorpusError) as caught:
        RecordedModel.load(path)
    assert "--to replies`" in str(caught.value)


def test_pairs_say_the_command_and_take_ultrafeedback_as_it_is(tmp_path: Path) -> None:
    assert import_file(jsonl(tmp_path / "u.jsonl", ULTRA, ORPO | {"rejected": "B."})).pairs[0].rejected == "B."
    for row in (HH, OPENAI_PAIR, ORPO):
        with pytest.raises(CorpusError, match=r"`screentest data convert \S+ --to pairs`"):
            import_file(jsonl(tmp_path / "a.jsonl", row))


def test_no_column_that_looks_like_a_reply_is_lost_in_silence(tmp_path: Path) -> None:
    good = {"prompt": "Q?", "completion": "A."}
    path = jsonl(tmp_path / "a.jsonl", good, {"prompt": "Q2?", "response": "A."})
    with pytest.raises(CorpusError, match=r"line 2: a reply must be `completion` .* got `response` beside a prompt"):
        read_corpus(path)
    assert read_corpus(path, lenient=True).skipped == {"reply under another name": 1}
    rows = ({**good, "response": "B."}, {"prompt": "Q3?", "comment": "long text"}, {"prompt": "Q4?", "tag": 3})
    assert read_corpus(jsonl(tmp_path / "b.jsonl", *rows)).seen == {
        "`comment` beside a prompt without reply, not read": 1,
        "`response` beside a reply, not read": 1,
    }


def test_null_and_nothing_to_read_are_absence(tmp_path: Path) -> None:
    row = {"prompt": [said("user", "Q?", name=None)], "completion": "\u200b", "id": None, "cluster": None}
    corpus = read_corpus(jsonl(tmp_path / "a.jsonl", row, {"prompt": "R?", "completion": "", "cluster": "\u2060"}))
    assert "None" not in str(corpus.conversations)
    assert all(c.cluster == c.id and c.utterances[0].speaker == "user" for c in corpus.conversations)
    with pytest.raises(CorpusError, match="a user message with something to read"):
        read_corpus(jsonl(tmp_path / "b.jsonl", {"prompt": "\u200b", "completion": "A."}))


def test_a_default_id_makes_way_for_one_that_is_given(tmp_path: Path) -> None:
    (plain,) = read_corpus(jsonl(tmp_path / "a.jsonl", {"prompt": "Q?"})).conversations
    both = read_corpus(jsonl(tmp_path / "b.jsonl", {"prompt": "Q?"}, {"prompt": "Else?", "id": plain.id}))
    assert {c.utterances[0].text: c.id for c in both.conversations} == {"Q?": f"{plain.id}+", "Else?": plain.id}


def test_rows_of_one_prompt_are_one_cluster(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{i % 3}?", "completion": f"A{i}."} for i in range(9)]
    assert len(read_corpus(jsonl(tmp_path / "a.jsonl", *rows)).clusters) == 3
    pairs = [{"prompt": f"Q{i % 3}?", "chosen": f"A{i}", "rejected": f"B{i}"} for i in range(9)]
    extra = [
        {"prompt": " q0? ", "chosen": "A", "rejected": "B", "prompt_id": 7},
        {"prompt": "Other?", "chosen": "A", "rejected": "B", "prompt_id": "7"},
        {"prompt": "Q1?", "chosen": "A", "rejected": "B", "cluster": "film"},
        {"prompt": "Q2?", "chosen": "A", "rejected": "B", "prompt_id": "row-3", "cluster": None},
    ]
    found = import_file(jsonl(tmp_path / "p.jsonl", *pairs, *extra)).pairs
    by_text: dict[str, set[str]] = {}
    for pair in found:
        by_text.setdefault(pair.prompt.messages[0].content.strip().lower(), set()).add(pair.prompt.cluster)
    assert all(len(clusters) == 1 for clusters in by_text.values())
    assert by_text["q0?"] == by_text["other?"]
    assert by_text["q1?"] == {"film"}
    assert [p.prompt.id for p in found][2::10] == ["row-3+", "row-3"]


KEYS = (
    "prompt", "messages", "conversations", "chosen", "rejected", "instruction", "input", "output", "response",
    "system", "role", "content", "from", "value", "id", "cluster", "split", "completion",
    "weight", "name", "history", "preferred_output", "non_preferred_output", "candidates", "margin", "prompt_id",
)  # fmt: skip
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "\u200b", "user", "assistant", "system", "Q?", "\n\nHuman: a\n\nAssistant: b", "test"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(KEYS), HOSTILE, min_size=1, max_size=5), min_size=1, max_size=3))
def test_whatever_rows_hold_they_are_read_or_refused_in_a_sentence(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    loaders: tuple[Any, ...] = (read_corpus, lambda p: read_corpus(p, lenient=True), import_file, RecordedModel.load)
    forms: tuple[Any, ...] = ("prompts", "sft", "pairs", "replies")
    for load in (*loaders, *(partial(convert, to=to) for to in forms)):
        with contextlib.suppress(InputError):
            load(path)
