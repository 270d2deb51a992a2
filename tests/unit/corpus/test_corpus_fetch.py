"""Downloads against a real HTTP server on this machine: one that resumes, cuts, lies and fails."""

from __future__ import annotations

import hashlib
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from corpora import cornell_files, zipped

from harness.errors import ConfigError, IntegrityError, UnavailableError
from harness.types import Progress
from pipelines.corpus import fetch as fetching
from pipelines.corpus.fetch import DOWNLOADS, Download, fetch
from pipelines.corpus.reading import read_corpus


@dataclass
class Shelf:
    """What the server has, how it behaves, and what it was asked; and the cache that is filled from it."""

    data: bytes
    cache: Path
    etag: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    status: list[int] = field(default_factory=list)  # errors of the next answers
    says_length: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def fetch(self, corpus: str = "cornell", **more: Any) -> Path:
        return fetch(corpus, url=self.url, **more)

    @property
    def cached(self) -> list[str]:
        """What lies in the cache."""
        return sorted(file.name for file in (self.cache / "corpora").iterdir())


class Handler(BaseHTTPRequestHandler):
    """Serves one file with Range and If-Range."""

    shelf: Shelf

    def do_GET(self) -> None:
        shelf = self.shelf
        shelf.asked.append({key: self.headers[key] for key in ("Range", "If-Range") if key in self.headers})
        if shelf.status:
            self.send_error(shelf.status.pop(0))
            return
        begin = 0
        if "Range" in self.headers and self.headers.get("If-Range") == shelf.etag:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if begin and begin >= len(shelf.data):
            self.send_error(416)
            return
        body = shelf.data[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(shelf.data) - 1}/{len(shelf.data)}")
        if shelf.says_length:
            self.send_header("Content-Length", str(len(body)))
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        self.end_headers()
        self.wfile.write(body[: shelf.cuts.pop(0)] if shelf.cuts else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    folder = cornell_files(tmp_path / "source")
    return zipped(folder, tmp_path / "source.zip", inside="cornell movie-dialogs corpus").read_bytes()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCREENTEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shelf(archive: bytes, cache: Path) -> Iterator[Shelf]:
    """A server that has the small archive."""
    shelf = Shelf(archive, cache)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"shelf": shelf})) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        shelf.url = f"http://127.0.0.1:{server.server_port}/corpus.zip"
        yield shelf
        server.shutdown()


@pytest.fixture
def known(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Download:
    """The small archive in the place of the official one, with its true size and digest."""
    blob = hashlib.sha1(b"blob %d\0" % len(archive) + archive, usedforsecurity=False).hexdigest()
    download = replace(DOWNLOADS["cornell"], n_bytes=len(archive), git_blob=blob, sha256={})
    monkeypatch.setattr(fetching, "DOWNLOADS", {**DOWNLOADS, "cornell": download})
    return download


@pytest.mark.usefixtures("known")
class TestDownload:
    def test_the_corpus_arrives_and_can_be_read(self, shelf: Shelf, tmp_path: Path) -> None:
        heard = list[Progress]()
        folder = shelf.fetch(on_progress=heard.append)
        assert read_corpus("cornell").digest == read_corpus(tmp_path / "source").digest
        assert shelf.cached == [folder.name]
        assert heard[-1].done == heard[-1].total == len(shelf.data) / 1e6
        assert shelf.fetch() == folder
        assert len(shelf.asked) == 1

    def test_a_cut_connection_is_taken_up_where_it_broke(self, shelf: Shelf) -> None:
        shelf.cuts = [300, 200]
        shelf.fetch()
        assert shelf.asked == [
            {},
            {"Range": "bytes=300-", "If-Range": '"v1"'},
            {"Range": "bytes=500-", "If-Range": '"v1"'},
        ]

    def test_the_next_call_goes_on_too(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetching, "_ATTEMPTS", 1)
        shelf.cuts = [400]
        with pytest.raises(UnavailableError, match="the 400 bytes so far are kept"):
            shelf.fetch()
        shelf.fetch()
        assert shelf.asked[1]["Range"] == "bytes=400-"

    def test_a_download_that_was_whole_but_not_unpacked(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(fetching, "_verify", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            patch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill leaves the part where it is
            with pytest.raises(KeyboardInterrupt):
                shelf.fetch()
        assert shelf.fetch().is_dir()
        assert shelf.asked[1]["Range"] == f"bytes={len(shelf.data)}-"

    def test_a_file_that_changed_meanwhile_is_fetched_anew(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetching, "_ATTEMPTS", 1)
        whole = shelf.data
        shelf.data, shelf.cuts = b"x" * len(whole), [400]
        with pytest.raises(UnavailableError):
            shelf.fetch()
        shelf.data, shelf.etag = whole, '"v2"'
        assert shelf.fetch().is_dir()

    def test_without_a_validator_nothing_is_resumed(self, shelf: Shelf) -> None:
        shelf.etag, shelf.cuts = None, [300]
        shelf.fetch()
        assert shelf.asked == [{}, {}]

    def test_a_server_that_fails_once(self, shelf: Shelf) -> None:
        shelf.status = [503]
        assert shelf.fetch().is_dir()


@pytest.mark.usefixtures("known")
class TestWhatIsNotTheCorpus:
    @pytest.mark.parametrize("says_length", [True, False])
    def test_wrong_size(self, shelf: Shelf, says_length: bool) -> None:
        shelf.says_length, n = says_length, len(shelf.data)
        shelf.data += b"more"
        with pytest.raises(IntegrityError, match=f"must give {n} bytes, got {n + 4}"):
            shelf.fetch()
        assert shelf.cached == []

    def test_wrong_bytes_are_thrown_away(self, shelf: Shelf) -> None:
        whole = shelf.data
        shelf.data = whole[:-1] + bytes([whole[-1] ^ 1])
        with pytest.raises(IntegrityError, match="git blob id"):
            shelf.fetch()
        assert shelf.cached == []
        shelf.data = whole
        assert shelf.fetch().is_dir()

    def test_not_there(self, shelf: Shelf) -> None:
        shelf.status = [404]
        with pytest.raises(UnavailableError, match=r"it answered 404.*--corpus"):
            shelf.fetch()
        assert len(shelf.asked) == 1

    def test_offline(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/corpus.zip"
        with pytest.raises(UnavailableError, match=r"must be reachable to fetch the corpus.*--corpus PATH"):
            fetch("cornell", url=url)

    @pytest.mark.parametrize("url", ["ftp://example.org/a.zip", "not a url"])
    def test_no_address(self, url: str) -> None:
        with pytest.raises(ConfigError, match="`url` must be"):
            fetch("cornell", url=url)


class TestUnpacking:
    """`convokit` has no digest to be held to, so whatever the zip holds reaches the unpacking."""

    def zip_of(self, path: Path, **files: bytes) -> bytes:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path.read_bytes()

    def test_paths_in_the_zip_decide_nothing(self, shelf: Shelf, tmp_path: Path) -> None:
        files = {"../../../evil.txt": b"x", "/etc/evil": b"x", "a/b/utterances.jsonl": b"{}", "setup.py": b"x"}
        shelf.data = self.zip_of(tmp_path / "z.zip", **files)
        folder = shelf.fetch("convokit")
        assert sorted(file.name for file in folder.rglob("*")) == ["utterances.jsonl"]
        assert not list(tmp_path.rglob("*evil*"))
        assert shelf.cached == ["convokit"]

    def test_a_zip_without_the_corpus(self, shelf: Shelf, tmp_path: Path) -> None:
        shelf.data = self.zip_of(tmp_path / "z.zip", **{"readme.txt": b"x"})
        with pytest.raises(IntegrityError, match=r"a zip with `utterances\.jsonl`, got readme\.txt"):
            shelf.fetch("convokit")
        assert shelf.cached == []

    def test_no_zip(self, shelf: Shelf) -> None:
        shelf.data = b"<html>Please log in</html>"
        with pytest.raises(IntegrityError, match="must be a zip"):
            shelf.fetch("convokit")

    def test_a_file_inside_with_other_bytes(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, known: Download
    ) -> None:
        wrong = replace(known, sha256={"movie_conversations.txt": "0" * 64})
        monkeypatch.setattr(fetching, "DOWNLOADS", {"cornell": wrong})
        with pytest.raises(IntegrityError, match=r"`movie_conversations\.txt` must have sha256 0000"):
            shelf.fetch()
        assert shelf.cached == []
