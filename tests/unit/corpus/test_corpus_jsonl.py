"""JSONL of the user's own."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from corpora import jsonl, refused

from harness.errors import CorpusError
from pipelines.corpus.reading import read_corpus

KIND = ({"role": "system", "content": "Be kind."},)


def chat(*texts: str, first: Sequence[Mapping[str, str]] = (), **fields: object) -> dict[str, object]:
    """A row of messages in which user and assistant take turns."""
    said = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]
    return {"messages": [*first, *said], **fields}


class TestFormats:
    @pytest.mark.parametrize("key", ["id", "prompt_id"])
    def test_prompt_and_completion(self, tmp_path: Path, key: str) -> None:
        corpus = read_corpus(jsonl(tmp_path / "mine.jsonl", {"prompt": "Hi?", "completion": "Ho.", key: 7}))
        assert (corpus.name, corpus.source, corpus.reply_rule) == ("mine", "jsonl", "assistant_turns")
        (conversation,) = corpus.conversations
        assert [(u.speaker_id, u.text) for u in conversation.utterances] == [("user", "Hi?"), ("assistant", "Ho.")]
        assert conversation.id == conversation.cluster == "7"
        assert corpus.cluster_unit == "row"

    def test_messages_keep_their_line_breaks_and_lose_outer_space(self, tmp_path: Path) -> None:
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", chat(" def f():\n    pass\n", "```\nx  y\n```")))
        assert [u.text for u in corpus.conversations[0].utterances] == ["def f():\n    pass", "```\nx  y\n```"]

    def test_prompt_and_completion_as_messages(self, tmp_path: Path) -> None:
        row = {"id": "r", "prompt": chat("a", "b", "c")["messages"],
               "completion": [{"role": "assistant", "content": "d"}]}  # fmt: skip
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", row))
        assert [u.text for u in corpus.conversations[0].utterances] == ["a", "b", "c", "d"]
        assert corpus.history_only == {"r.0", "r.1", "r.2"}

    def test_blank_lines_crlf_and_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}\r\n\r\n')
        assert len(read_corpus(tmp_path / "a.jsonl").conversations) == 1


class TestIdentity:
    def test_the_order_of_rows_decides_nothing(self, tmp_path: Path) -> None:
        rows = [chat(f"question {i}", f"answer {i}", cluster=f"c{i % 3}") for i in range(9)]
        shuffled = random.Random(1).sample(rows, len(rows))
        one, two = (read_corpus(jsonl(tmp_path / f"{i}.jsonl", *r)) for i, r in enumerate((rows, shuffled)))
        assert one.conversations == two.conversations
        assert one.digest == two.digest

    def test_identical_rows_are_kept_once(self, tmp_path: Path) -> None:
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", chat("a", "b"), chat("a", "b"), chat("a", "c")))
        assert len(corpus.conversations) == 2
        assert corpus.repaired == {"identical rows kept once": 1}

    def test_clusters(self, tmp_path: Path) -> None:
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", chat("a", "b", cluster="x"), chat("c", "d", id="y")))
        assert corpus.clusters == ("x", "y")
        assert corpus.cluster_unit == "cluster"


class TestSystemMessages:
    def test_one_for_all_rows_is_the_corpuss_own(self, tmp_path: Path) -> None:
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", chat("a", "ok", first=KIND), chat("b", "ok", first=KIND)))
        assert corpus.system == "Be kind."
        assert {c.utterances[0].text for c in corpus.conversations} == {"a", "b"}
        without = read_corpus(jsonl(tmp_path / "b.jsonl", chat("a", "ok"), chat("b", "ok")))
        assert without.system is None
        assert without.digest != corpus.digest

    def test_different_ones_go_before_the_first_user_message(self, tmp_path: Path) -> None:
        rows = (chat("a", "ok", first=KIND, id="k"), chat("b", "ok", id="z"))
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", *rows))
        assert corpus.system is None
        assert [c.utterances[0].text for c in corpus.conversations] == ["Be kind.\n\na", "b"]
        assert corpus.repaired == {"system messages put before the first user message": 1}


class TestExplicitSplits:
    def test_they_are_read(self, tmp_path: Path) -> None:
        rows = [chat(str(i), "x", id=f"r{i}", split=s) for i, s in enumerate(("train", "valid", "dev", "test"))]
        corpus = read_corpus(jsonl(tmp_path / "a.jsonl", *rows, chat("free", "x", id="free")))
        assert corpus.explicit_splits == {"r0": "train", "r1": "validation", "r2": "validation", "r3": "test"}

    def test_they_are_content(self, tmp_path: Path) -> None:
        one = read_corpus(jsonl(tmp_path / "a.jsonl", chat("a", "b", split="train")))
        two = read_corpus(jsonl(tmp_path / "b.jsonl", chat("a", "b", split="test")))
        assert one.digest != two.digest


GOOD = chat("good", "yes", id="good", cluster="g", split="train")
FAULTS = {
    "not JSON": ("{oops", "must be JSON, it is not: ", "row that is not JSON"),
    "not an object": (["a"], "must be a JSON object, got list", "row that is not an object"),
    "neither format": ({"text": "a"}, "got `text`", "row without messages"),
    "both formats": ({**chat("a", "b"), "prompt": "p"}, "got both", "row of two formats"),
    "messages no list": ({"messages": "a"}, 'must be a list of messages, got "a"', "messages that are no list"),
    "no messages": ({"messages": []}, r"must be a list of messages, got \[\]", "messages that are no list"),
    "unknown role": ({"messages": [{"role": "tool", "content": "a"}]}, '"tool"', "message without role or text"),
    "content no text": ({"messages": [{"role": "user", "content": [1]}]}, "a text as", "message without role or text"),
    "late system": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
        "must be the first", "system message out of place",
    ),
    "no user": (
        {"messages": [{"role": "assistant", "content": "a"}]}, "must have a user", "row without a user message",
    ),
    "unknown split": (chat("a", "b", split="exam"), 'got "exam"', "unknown split"),
    "id no text": (chat("a", "b", id=[1]), r"got \[1\]", "id, cluster or name that is no text"),
    "id twice": (chat("a", "b", id="good"), r"got `good` again \(first on line 1\)", "row id given twice"),
    "cluster in two splits": (
        chat("a", "b", cluster="g", split="test"), "got `g` in test after train", "cluster in two splits",
    ),
}  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize(("row", "reason", "kind"), FAULTS.values(), ids=FAULTS)
    def test_each_names_file_line_and_reason(self, tmp_path: Path, row: object, reason: str, kind: str) -> None:
        path = jsonl(tmp_path / "a.jsonl", GOOD, "", row)
        corpus = refused(path, reason, path.name, 3)
        assert corpus.skipped == {kind: 1}
        assert [c.id for c in corpus.conversations] == ["good"]

    @pytest.mark.parametrize("lenient", [False, True])
    def test_an_empty_file(self, tmp_path: Path, lenient: bool) -> None:
        (tmp_path / "a.jsonl").write_text("\n")
        with pytest.raises(CorpusError, match="got an empty file"):
            read_corpus(tmp_path / "a.jsonl", lenient=lenient)

    def test_nothing_left(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="at least one conversation, got none"):
            read_corpus(jsonl(tmp_path / "a.jsonl", "nope"), lenient=True)
