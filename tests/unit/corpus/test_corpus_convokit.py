"""ConvoKit's format, checked against Cornell's own: the same text gives the same corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import cornell_files, jsonl, refused, zipped

from harness.errors import CorpusError
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.reading import read_corpus


def convokit_files(corpus: Corpus, folder: Path, *, old: bool = False) -> Path:
    """The corpus as ConvoKit would hold it; `old` uses the field names of its first releases."""
    folder.mkdir(parents=True)
    speaker, thread, before = ("user", "root", "reply_to") if old else ("speaker", "conversation_id", "reply-to")
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    names: dict[str, Any] = {}
    for conversation in corpus.conversations:
        previous = None
        first = conversation.utterances[0].id
        about[first] = {"meta": {"movie_idx": conversation.cluster, "movie_name": conversation.title,
                                 "release_year": "1989/I"}, "vectors": []}  # fmt: skip
        for line in conversation.utterances:
            meta = {"movie_id": conversation.cluster, "parsed": [{"toks": []}]}
            rows.append({"id": line.id, thread: first, "text": line.text, speaker: line.speaker_id, "meta": meta,
                         before: previous, "timestamp": None, "vectors": []})  # fmt: skip
            names[line.speaker_id] = {"meta": {"character_name": line.speaker}}
            previous = line.id
    jsonl(folder / "utterances.jsonl", *reversed(rows))
    (folder / "conversations.json").write_text(json.dumps(about))
    (folder / ("users.json" if old else "speakers.json")).write_text(json.dumps(names))
    return folder


@pytest.mark.parametrize("old", [False, True], ids=["today", "first releases"])
def test_it_is_the_same_corpus_as_cornells(tmp_path: Path, old: bool) -> None:
    cornell = read_corpus(cornell_files(tmp_path / "cornell"))
    folder = convokit_files(cornell, tmp_path / "convokit", old=old)
    for spec in (folder, folder / "utterances.jsonl", zipped(folder, tmp_path / "c.zip", inside="movie-corpus")):
        corpus = read_corpus(spec)
        assert corpus.source == "convokit"
        assert corpus.cluster_unit == "film"
        assert corpus.conversations == cornell.conversations
        assert corpus.digest == cornell.digest
        assert corpus.films["m0"].year == 1989


def test_utterances_alone_under_another_name(tmp_path: Path) -> None:
    cornell = read_corpus(cornell_files(tmp_path / "cornell"))
    folder = convokit_files(cornell, tmp_path / "convokit")
    (folder / "utterances.jsonl").rename(tmp_path / "mine.jsonl")
    corpus = read_corpus(tmp_path / "mine.jsonl")
    assert [c.id for c in corpus.conversations] == ["m0:L1", "m1:L7"]
    assert corpus.conversations[0].utterances[0].speaker == "u0"
    assert corpus.conversations[0].title == "m0"


def row(identifier: str, before: str | None, thread: str = "a", **more: object) -> dict[str, object]:
    return {"id": identifier, "conversation_id": thread, "text": "Hm.", "speaker": "s", "reply-to": before, **more}


def test_a_corpus_without_films_has_a_cluster_per_conversation(tmp_path: Path) -> None:
    corpus = read_corpus(jsonl(tmp_path / "utterances.jsonl", row("a", None), row("b", "a"), row("c", None, "c")))
    assert corpus.clusters == ("a", "c")
    assert corpus.cluster_unit == "row"


FAULTS = {
    "not an utterance": ({"id": "x"}, "got no `conversation_id`, `speaker`", "row that is not an utterance", ["g:g"]),
    "no object": ("3", "must be a JSON object, got int", "row that is not an object", ["g:g"]),
    "id twice": (row("g", None, "z"), "got `g` again", "utterance id given twice", ["g:g"]),
    "reply to nobody": (row("b", "gone"), "got `gone`, which is not", "conversation names a line that is not there",
                        ["g:g"]),
    "two roots": (row("h", None, "g"), "second reply to `nothing`", "conversation that branches", []),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "reason", "kind", "left"), FAULTS.values(), ids=FAULTS)
def test_faults(tmp_path: Path, fault: object, reason: str, kind: str, left: list[str]) -> None:
    path = jsonl(tmp_path / "utterances.jsonl", row("g", None, "g"), fault, row("s", None, "s"))
    corpus = refused(path, reason, path.name, 2)
    assert corpus.skipped == {kind: 1}
    assert [c.id for c in corpus.conversations] == [*left, "s:s"]


def test_a_ring_of_replies(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "utterances.jsonl", row("a", "b"), row("b", "a"))
    with pytest.raises(CorpusError, match="a ring of replies"):
        read_corpus(path)


def test_metadata_that_is_no_json(tmp_path: Path) -> None:
    jsonl(tmp_path / "utterances.jsonl", row("a", None))
    (tmp_path / "conversations.json").write_text("{")
    with pytest.raises(CorpusError, match=r"conversations\.json` line 1: must be JSON"):
        read_corpus(tmp_path)
