"""A finished stage is the bytes it was, or is found out: whatever is done to its files, sizes, times and record."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store import intact
from harness.store.artifacts import digest_file, digest_json, write_json, write_manifest
from harness.store.intact import what_changed

IDENTITY = {"stage": "toy", "revision": 1, "config": {"a": [1.5, None]}, "inputs": {}}


class Finished:
    """A stage's folder as `Tracking` leaves it."""

    def __init__(self, root: Path, files: dict[str, bytes]) -> None:
        self.folder, self.remembered = root / "stage", root / "home" / "intact" / "run.json"
        for name, data in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)
        self.digest = digest_json(write_manifest(self.folder))
        write_json(self.folder / "stage.json", {**IDENTITY, "versions": {}})

    def what_changed(self) -> str | None:
        return what_changed(
            self.folder, output_digest=self.digest, fingerprint=digest_json(IDENTITY), remembered=self.remembered
        )


def flip(file: Path) -> None:
    """One bit, and the time of writing put back."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "grown": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "gone": Path.unlink,
    "a folder": as_folder,
}
HARMLESS: dict[str, Callable[[Path], object]] = {
    "touched": os.utime,
    "written again": lambda file: file.write_bytes(file.read_bytes()),
    "replaced by a copy": lambda file: (
        file.with_name("copy").write_bytes(file.read_bytes()),
        file.with_name("copy").replace(file),
    ),
}
FILES = st.dictionaries(st.sampled_from(["a", "b.txt", "adapter/w", "deep/er/x"]), st.binary(min_size=1), min_size=1)


@settings(max_examples=60, deadline=None)
@given(files=FILES, changes=st.lists(st.sampled_from([*DAMAGES, *HARMLESS]), max_size=3), data=st.data())
def test_a_stage_is_intact_exactly_when_its_bytes_are(
    files: dict[str, bytes], changes: list[str], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as root:
        stage = Finished(Path(root), files)
        assert stage.what_changed() is None
        for change in changes:
            file = stage.folder / data.draw(st.sampled_from(sorted(files)))
            if file.is_file() and file.stat().st_size:
                (DAMAGES | HARMLESS)[change](file)
        now = {n: p.read_bytes() if (p := stage.folder / n).is_file() else None for n in files}
        assert (stage.what_changed() is None) == (now == files)


def test_what_was_digested_once_is_not_digested_again(tmp_path: Path) -> None:
    stage = Finished(tmp_path, {"a": b"1", "b": b"2"})
    with mock.patch.object(intact, "digest_file", wraps=digest_file) as digested:
        assert [stage.what_changed() for _ in range(3)] == [None] * 3
        assert digested.call_count == 2
        os.utime(stage.folder / "a")
        assert stage.what_changed() is None
        assert digested.call_count == 3


@pytest.mark.parametrize("remembered", ["", "[]", "null", '{"a": 1}', "\udcff", "[" * 10_000])
def test_a_memory_that_is_none_costs_a_digest_and_nothing_else(tmp_path: Path, remembered: str) -> None:
    stage = Finished(tmp_path, {"a": b"1"})
    stage.remembered.parent.mkdir(parents=True)
    stage.remembered.write_text(remembered, errors="surrogateescape")
    assert stage.what_changed() is None
    flip(stage.folder / "a")
    assert "`a` is not the file that was recorded" in str(stage.what_changed())


def test_the_record_itself_is_checked(tmp_path: Path) -> None:
    stage = Finished(tmp_path, {"a": b"1"})
    for name, text in {"manifest.json": '{"files": {}}', "stage.json": json.dumps({**IDENTITY, "revision": 2})}.items():
        before = (stage.folder / name).read_text()
        for damaged in (text, "", "[]", "{}"):
            (stage.folder / name).write_text(damaged)
            assert "its record" in str(stage.what_changed())
        (stage.folder / name).write_text(before)
        assert stage.what_changed() is None
