"""One way in: names, folders, and what is said when there is nothing to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import cornell_files

from harness.errors import CorpusError, UnavailableError
from pipelines.corpus import formats, reading
from pipelines.corpus.reading import read_corpus


def test_a_corpus_has_to_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENTEST_CACHE", str(tmp_path))
    cornell_files(tmp_path / "corpora" / "cornell")
    assert read_corpus("cornell").name == "cornell"
    with pytest.raises(UnavailableError, match=r"screentest data fetch convokit.*--corpus"):
        read_corpus("convokit")


def test_a_folder_that_is_called_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cornell_files(tmp_path / "sample")
    monkeypatch.chdir(tmp_path)
    assert len(read_corpus("./sample").conversations) == 2
    assert len(read_corpus(Path("sample")).conversations) == 2
    assert len(read_corpus("sample").conversations) > 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere", "got no such file"), ("a.txt", r"must be a .zip or a .jsonl, got `a.txt`"), ("empty", "got nothing")],
)
def test_what_is_no_corpus(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=reason):
        read_corpus(tmp_path / name)


def test_a_format_is_found_by_its_module_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chat.log").write_text("Well?\nIt sank.\n")
    (tmp_path / "log.py").write_text(
        "import json\n"
        "from pipelines.corpus.corpus import Format\n"
        "from pipelines.corpus.formats.jsonl import read_jsonl_corpus\n"
        "def read(path, name, tally):\n"
        "    if path.suffix != '.log': return None\n"
        "    said, reply = path.read_text().splitlines()\n"
        "    row = json.dumps({'prompt': said, 'completion': reply})\n"
        "    return read_jsonl_corpus(row.encode(), file=str(path), name=name, tally=tally)\n"
        "FORMAT = Format(from_file=read)\n"
    )
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    reading.formats.cache_clear()
    try:
        corpus = read_corpus(tmp_path / "chat.log")
    finally:
        reading.formats.cache_clear()
    assert [[u.text for u in c.utterances] for c in corpus.conversations] == [["Well?", "It sank."]]
