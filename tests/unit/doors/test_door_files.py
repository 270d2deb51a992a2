"""Rows and zips of somebody else: bounded, and every fault is a sentence."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import cornell_files, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.doors import files
from harness.doors.files import read_rows
from harness.errors import CorpusError, InputError
from harness.experiment.imported_scores import read_imported
from harness.experiment.planning.pilot_data import read_pilot_file
from harness.models.recorded import RecordedModel
from pipelines.corpus.reading import read_corpus
from pipelines.preferences.pair_files import import_file

GOOD: dict[str, dict[str, object]] = {
    "corpus": {"prompt": "a", "completion": "b"},
    "pairs": {"prompt": "a", "chosen": "b", "rejected": "c"},
    "scores": {"prompt_id": "p", "variant": "v", "value": 1},
    "votes": {"prompt_id": "p", "left": "a", "right": "b", "winner": "left"},
    "replies": {"prompt_id": "p", "text": "b"},
}
LOADERS: dict[str, Callable[[Path], object]] = {
    "corpus": read_corpus,
    "pairs": import_file,
    "scores": read_imported,
    "votes": lambda path: read_pilot_file(path, treatment=None, control=None),
    "replies": RecordedModel.load,
}
HOSTILE = {
    "surrogate": (r'{"x": "\ud83d"}', "lone surrogate"),
    "nul": (r'{"x": "\u0000"}', "NUL"),
    "deep": ('{"x": ' + "[" * 90_000 + "]" * 90_000 + "}", "nest at most"),
    "huge number": ('{"x": ' + "1" * 400 + "}", "at most 308 digits"),
    "infinity": ('{"x": Infinity}', "must be finite"),
    "key twice": ('{"x": 1, "x": 2}', "stand once"),
    "no object": ("[1]", "must be a JSON object, got list"),
    "no json": ("{", "must be JSON"),
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("fault", HOSTILE)
def test_every_entrance_names_file_and_line(kind: str, fault: str, tmp_path: Path) -> None:
    text, reason = HOSTILE[fault]
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(GOOD[kind])}\n\n{text}\n")
    with pytest.raises(CorpusError, match=reason) as caught:
        LOADERS[kind](path)
    assert str(caught.value).startswith(f"`{path}` line 3: ")
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("kind", LOADERS)
def test_every_entrance_takes_a_byte_order_mark_and_whole_numbers_as_ids(kind: str, tmp_path: Path) -> None:
    row = {key: 7 if key == "prompt_id" else said for key, said in GOOD[kind].items()}
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(row).encode() + b"\r\n")
    assert LOADERS[kind](tmp_path / "rows.jsonl") is not None


def test_lenient_repairs_texts_and_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "Where?", "completion": "Gone \\ud83d\\u0000."}\n{"prompt": "NaN", "completion": NaN}\n'
    )
    corpus = read_corpus(path, lenient=True)
    assert [u.text for c in corpus.conversations for u in c.utterances] == ["Where?", "Gone \ufffd\ufffd."]
    assert corpus.repaired == {"characters that cannot be stored, now U+FFFD": 2}
    assert corpus.skipped == {"row that is not JSON": 1}


def test_a_file_that_is_no_utf8_or_endless_is_named_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "caf\xe9"}\n')
    with pytest.raises(CorpusError, match="line 2: text must be UTF-8, got byte 0xE9"):
        list(read_rows(path, of="rows"))
    monkeypatch.setattr(files, "MAX_JSON", 10)
    path.write_text("[" + " " * 100)
    with pytest.raises(CorpusError, match="a line must have at most 40 bytes"):
        list(read_rows(path, of="rows"))
    with pytest.raises(InputError, match="existing JSONL file of rows"):
        list(read_rows(tmp_path, of="rows"))


# ── zips ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in entries.items():
            opened.writestr(f"{name}.txt", data)
    return path


def marked(path: Path, *, offsets: tuple[int, int], value: int) -> Path:
    """The zip with a byte of every local and central header set."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", offsets[0]), (b"PK\1\2", offsets[1])):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("lenient", [False, True])
def test_zips_that_cannot_be_read_say_why(tmp_path: Path, lenient: bool) -> None:
    def made() -> Path:
        return archive(tmp_path / "c.zip", movie_lines=b"hello " * 1000, movie_conversations=b"y")

    with pytest.raises(CorpusError, match="it is encrypted; unpack it"):
        read_corpus(marked(made(), offsets=(6, 8), value=1), lenient=lenient)
    with pytest.raises(CorpusError, match="a method that Python cannot read"):
        read_corpus(marked(made(), offsets=(8, 10), value=99), lenient=lenient)


def test_a_zip_is_bounded_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = archive(tmp_path / "bomb.zip", movie_lines=bytes(20 << 20), movie_conversations=b"y")
    with pytest.raises(CorpusError, match="at most 200 times its size"):
        read_corpus(bomb)
    monkeypatch.setattr(files, "MAX_UNPACKED", 1 << 20)
    with pytest.raises(CorpusError, match="must unpack to at most"):
        read_corpus(bomb)
    monkeypatch.setattr(files, "MAX_FILES", 1)
    with pytest.raises(CorpusError, match="at most 1 files, got 2"):
        read_corpus(bomb)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4), cut=st.booleans())
def test_no_damage_to_a_zip_ends_in_another_error(tmp_path: Path, places: list[tuple[float, int]], cut: bool) -> None:
    whole = tmp_path / "whole.zip"
    if not whole.exists():
        zipped(cornell_files(tmp_path / "cornell"), whole)
    data = bytearray(whole.read_bytes())
    for where, value in places:
        data[int(where * len(data))] = value
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(data[: int(places[0][0] * len(data))] if cut else data)
    try:
        read_corpus(damaged, lenient=True)
    except CorpusError as err:
        str(err).encode()
