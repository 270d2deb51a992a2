"""Downloads against a real HTTP server on this machine: one that resumes, cuts, lies and fails."""

from __future__ import annotations

import hashlib
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from corpora import cornell_files, zipped

from harness.errors import ConfigError, IntegrityError, UnavailableError
from harness.settings import Settings
from harness.types import Progress
from pipelines.corpus import fetch as fetching
from pipelines.corpus.fetch import DOWNLOADS, Download, fetch
from pipelines.corpus.reading import read_corpus


@dataclass
class Shelf:
    """What the server has, how it behaves, and what it was asked."""

    data: bytes
    etag: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    status: list[int] = field(default_factory=list)  # errors of the next answers
    says_length: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


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
def serve() -> Iterator[Callable[[bytes], Shelf]]:
    servers = []

    def start(data: bytes) -> Shelf:
        shelf = Shelf(data)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"shelf": shelf}))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        shelf.url = f"http://127.0.0.1:{server.server_port}/corpus.zip"
        return shelf

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    folder = cornell_files(tmp_path / "source")
    return zipped(folder, tmp_path / "source.zip", inside="cornell movie-dialogs corpus").read_bytes()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"SCREENTEST_CACHE": str(tmp_path / "cache")})


@pytest.fixture
def known(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Download:
    """The small archive in the place of the official one, with its true size and digest."""
    blob = hashlib.sha1(b"blob %d\0" % len(archive) + archive, usedforsecurity=False).hexdigest()
    download = replace(DOWNLOADS["cornell"], n_bytes=len(archive), git_blob=blob, sha256={})
    monkeypatch.setattr(fetching, "DOWNLOADS", {**DOWNLOADS, "cornell": download})
    return download


def left_behind(settings: Settings) -> list[str]:
    return sorted(file.name for file in (settings.cache / "corpora").iterdir())


@pytest.mark.usefixtures("known")
class TestDownload:
    def test_the_corpus_arrives_and_can_be_read(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings, tmp_path: Path
    ) -> None:
        shelf, heard = serve(archive), list[Progress]()
        folder = fetch("cornell", url=shelf.url, settings=settings, on_progress=heard.append)
        assert read_corpus("cornell", settings=settings).digest == read_corpus(tmp_path / "source").digest
        assert left_behind(settings) == [folder.name]
        assert heard[-1].done == heard[-1].total == len(archive) / 1e6
        assert fetch("cornell", url=shelf.url, settings=settings) == folder
        assert len(shelf.asked) == 1

    def test_a_cut_connection_is_taken_up_where_it_broke(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings
    ) -> None:
        shelf = serve(archive)
        shelf.cuts = [300, 200]
        fetch("cornell", url=shelf.url, settings=settings)
        assert shelf.asked == [
            {},
            {"Range": "bytes=300-", "If-Range": '"v1"'},
            {"Range": "bytes=500-", "If-Range": '"v1"'},
        ]

    def test_the_next_call_goes_on_too(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "_ATTEMPTS", 1)
        shelf = serve(archive)
        shelf.cuts = [400]
        with pytest.raises(UnavailableError, match="the 400 bytes so far are kept"):
            fetch("cornell", url=shelf.url, settings=settings)
        fetch("cornell", url=shelf.url, settings=settings)
        assert shelf.asked[1]["Range"] == "bytes=400-"

    def test_a_download_that_was_whole_but_not_unpacked(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf = serve(archive)
        with monkeypatch.context() as patch:
            patch.setattr(fetching, "_verify", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            patch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill leaves the part where it is
            with pytest.raises(KeyboardInterrupt):
                fetch("cornell", url=shelf.url, settings=settings)
        assert fetch("cornell", url=shelf.url, settings=settings).is_dir()
        assert shelf.asked[1]["Range"] == f"bytes={len(archive)}-"

    def test_a_file_that_changed_meanwhile_is_fetched_anew(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "_ATTEMPTS", 1)
        shelf = serve(b"x" * len(archive))
        shelf.cuts = [400]
        with pytest.raises(UnavailableError):
            fetch("cornell", url=shelf.url, settings=settings)
        shelf.data, shelf.etag = archive, '"v2"'
        assert fetch("cornell", url=shelf.url, settings=settings).is_dir()

    def test_without_a_validator_nothing_is_resumed(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings
    ) -> None:
        shelf = serve(archive)
        shelf.etag, shelf.cuts = None, [300]
        fetch("cornell", url=shelf.url, settings=settings)
        assert shelf.asked == [{}, {}]

    def test_a_server_that_fails_once(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings
    ) -> None:
        shelf = serve(archive)
        shelf.status = [503]
        assert fetch("cornell", url=shelf.url, settings=settings).is_dir()


@pytest.mark.usefixtures("known")
class TestWhatIsNotTheCorpus:
    def test_wrong_size(self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings) -> None:
        shelf = serve(archive + b"more")
        with pytest.raises(IntegrityError, match=f"must give {len(archive)} bytes, got {len(archive) + 4}"):
            fetch("cornell", url=shelf.url, settings=settings)

    def test_wrong_size_without_a_length(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings
    ) -> None:
        shelf = serve(archive + b"more")
        shelf.says_length = False
        with pytest.raises(IntegrityError, match=f"got {len(archive) + 4}"):
            fetch("cornell", url=shelf.url, settings=settings)
        assert left_behind(settings) == []

    def test_wrong_bytes_are_thrown_away(
        self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings
    ) -> None:
        shelf = serve(archive[:-1] + bytes([archive[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="git blob id"):
            fetch("cornell", url=shelf.url, settings=settings)
        assert left_behind(settings) == []
        shelf.data = archive
        assert fetch("cornell", url=shelf.url, settings=settings).is_dir()

    def test_not_there(self, serve: Callable[[bytes], Shelf], archive: bytes, settings: Settings) -> None:
        shelf = serve(archive)
        shelf.status = [404]
        with pytest.raises(UnavailableError, match=r"it answered 404.*--corpus"):
            fetch("cornell", url=shelf.url, settings=settings)
        assert len(shelf.asked) == 1

    def test_offline(self, settings: Settings) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/corpus.zip"
        with pytest.raises(UnavailableError, match=r"must be reachable to fetch the corpus.*--corpus PATH"):
            fetch("cornell", url=url, settings=settings)

    @pytest.mark.parametrize("url", ["ftp://example.org/a.zip", "not a url"])
    def test_no_address(self, settings: Settings, url: str) -> None:
        with pytest.raises(ConfigError, match="`url` must be"):
            fetch("cornell", url=url, settings=settings)

    def test_no_such_corpus(self, settings: Settings) -> None:
        with pytest.raises(ConfigError, match="one of cornell, convokit, got `imdb`"):
            fetch("imdb", settings=settings)


class TestUnpacking:
    """`convokit` has no digest to be held to, so whatever the zip holds reaches the unpacking."""

    def zip_of(self, path: Path, **files: bytes) -> bytes:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path.read_bytes()

    def test_paths_in_the_zip_decide_nothing(
        self, serve: Callable[[bytes], Shelf], settings: Settings, tmp_path: Path
    ) -> None:
        files = {"../../../evil.txt": b"x", "/etc/evil": b"x", "a/b/utterances.jsonl": b"{}", "setup.py": b"x"}
        shelf = serve(self.zip_of(tmp_path / "z.zip", **files))
        folder = fetch("convokit", url=shelf.url, settings=settings)
        assert sorted(file.name for file in folder.rglob("*")) == ["utterances.jsonl"]
        assert not list(tmp_path.rglob("*evil*"))
        assert left_behind(settings) == ["convokit"]

    def test_a_zip_without_the_corpus(
        self, serve: Callable[[bytes], Shelf], settings: Settings, tmp_path: Path
    ) -> None:
        shelf = serve(self.zip_of(tmp_path / "z.zip", **{"readme.txt": b"x"}))
        with pytest.raises(IntegrityError, match=r"a zip with `utterances\.jsonl`, got readme\.txt"):
            fetch("convokit", url=shelf.url, settings=settings)
        assert left_behind(settings) == []

    def test_no_zip(self, serve: Callable[[bytes], Shelf], settings: Settings) -> None:
        shelf = serve(b"<html>Please log in</html>")
        with pytest.raises(IntegrityError, match="must be a zip"):
            fetch("convokit", url=shelf.url, settings=settings)

    def test_a_file_inside_with_other_bytes(
        self,
        serve: Callable[[bytes], Shelf],
        archive: bytes,
        known: Download,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        wrong = replace(known, sha256={"movie_conversations.txt": "0" * 64})
        monkeypatch.setattr(fetching, "DOWNLOADS", {"cornell": wrong})
        with pytest.raises(IntegrityError, match=r"`movie_conversations\.txt` must have sha256 0000"):
            fetch("cornell", url=serve(archive).url, settings=settings)
        assert left_behind(settings) == []
