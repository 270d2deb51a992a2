"""Small corpora for tests: real files in the real formats, and corpora in memory.

`tests/` is on the path while pytest runs: `from corpora import cornell_files, films`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.errors import CorpusError
from harness.types import Conversation, Utterance
from pipelines.corpus.corpus import Corpus, content_digest, in_order
from pipelines.corpus.reading import read_corpus

SEPARATOR = " +++$+++ "

LINES = (
    "L1 +++$+++ u0 +++$+++ m0 +++$+++ ANNA +++$+++ Is the boat in?",
    "L2 +++$+++ u1 +++$+++ m0 +++$+++ BORIS +++$+++ Since noon.",
    "L3 +++$+++ u0 +++$+++ m0 +++$+++ ANNA +++$+++ Then why are you here?",
    "L7 +++$+++ u2 +++$+++ m1 +++$+++ CLEO +++$+++ You kept the letter.",
    "L8 +++$+++ u3 +++$+++ m1 +++$+++ DEV +++$+++ I kept the envelope.",
)
CONVERSATIONS = (
    "u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L1', 'L2', 'L3']",
    "u2 +++$+++ u3 +++$+++ m1 +++$+++ ['L7', 'L8']",
)
TITLES = (
    "m0 +++$+++ the ferry +++$+++ 1989/I +++$+++ 6.90 +++$+++ 62847 +++$+++ ['comedy', 'romance']",
    "m1 +++$+++ postage due +++$+++ 1994 +++$+++ 7.10 +++$+++ 1204 +++$+++ []",
)
CHARACTERS = (
    "u0 +++$+++ ANNA +++$+++ m0 +++$+++ the ferry +++$+++ f +++$+++ 1",
    "u1 +++$+++ BORIS +++$+++ m0 +++$+++ the ferry +++$+++ m +++$+++ ?",
    "u2 +++$+++ CLEO +++$+++ m1 +++$+++ postage due +++$+++ f +++$+++ 2",
    "u3 +++$+++ DEV +++$+++ m1 +++$+++ postage due +++$+++ ? +++$+++ ?",
)


def cornell_files(
    folder: Path,
    *,
    lines: Sequence[str] = LINES,
    conversations: Sequence[str] = CONVERSATIONS,
    titles: Sequence[str] | None = TITLES,
    characters: Sequence[str] | None = CHARACTERS,
    encoding: str = "utf-8",
    line_end: str = "\n",
) -> Path:
    """Write a corpus in Cornell's layout; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"lines": lines, "conversations": conversations}
    files |= {"titles_metadata": titles} if titles is not None else {}
    files |= {"characters_metadata": characters} if characters is not None else {}
    for name, rows in files.items():
        text = "".join(row + line_end for row in rows)
        (folder / f"movie_{name}.txt").write_bytes(text.encode(encoding))
    return folder


def zipped(folder: Path, path: Path, *, inside: str = "") -> Path:
    """A zip of a folder's files, under a folder inside it where one is named."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{inside}/{file.name}" if inside else file.name)
    return path


def jsonl(path: Path, *rows: object) -> Path:
    """A JSONL file of these rows; a text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refused(spec: Path, reason: str, file: str, line: int) -> Corpus:
    """What lenient reading leaves of a corpus that is refused for a line of a file."""
    with pytest.raises(CorpusError, match=reason) as caught:
        read_corpus(spec)
    assert (Path(caught.value.file).name, caught.value.line) == (file, line)
    return read_corpus(spec, lenient=True)


def films(n: int, *, texts: Mapping[int, Sequence[str]] | None = None, prefix: str = "m") -> Corpus:
    """A corpus of n films with one conversation each; speakers take turns."""
    conversations = []
    for number in range(n):
        spoken = (texts or {}).get(number) or (f"Where is number {number}?", f"Behind door {number}.", "Show me.")
        lines = tuple(
            Utterance(id=f"L{100 * number + i}", speaker_id=f"u{i % 2}", speaker="AB"[i % 2], text=text)
            for i, text in enumerate(spoken)
        )
        film = f"{prefix}{number}"
        conversations.append(
            Conversation(id=f"{film}:{lines[0].id}", cluster=film, title=f"film {number}", utterances=lines)
        )
    ordered = in_order(conversations)
    return Corpus(
        name="films", source="cornell", conversations=ordered, digest=content_digest(ordered), cluster_unit="film"
    )
