"""Downloads corpora into the user cache: with progress, resumed after a cut, checked, unpacked at one stroke."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError, CorpusError, IntegrityError, UnavailableError
from harness.settings import Settings
from harness.store.artifacts import digest_bytes
from harness.types import Progress
from pipelines.corpus.containers import open_zip
from pipelines.corpus.formats import convokit, cornell

if TYPE_CHECKING:
    import httpx

OnProgress = Callable[[Progress], None]

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A corpus that can be fetched, and how to know that it arrived."""

    url: str
    required: tuple[str, ...]  # files without which the corpus cannot be read
    optional: tuple[str, ...] = ()
    n_bytes: int | None = None  # of the zip
    git_blob: str | None = None  # sha1 that git gives the zip
    sha256: Mapping[str, str] = field(default_factory=dict)  # of files inside


DOWNLOADS: Mapping[str, Download] = {
    "cornell": Download(
        url="http://www.cs.cornell.edu/~cristian/data/cornell_movie_dialogs_corpus.zip",
        required=(cornell.LINES, cornell.CONVERSATIONS, cornell.TITLES, cornell.CHARACTERS),
        n_bytes=9_916_637,
        git_blob="968aac7176aee3f9c8013a51c785c17e5743d038",
        sha256={cornell.CONVERSATIONS: "600bc1d34ca629533643ca85c14b18849a548dce663e6d36977c14f24b75e055"},
    ),
    "convokit": Download(
        url="http://zissou.infosci.cornell.edu/convokit/datasets/movie-corpus/movie-corpus.zip",
        required=(convokit.UTTERANCES,),
        optional=(convokit.CONVERSATIONS, *convokit.SPEAKERS),
    ),
}


def fetch(corpus: str, *, url: str | None = None, on_progress: OnProgress = lambda progress: None) -> Path:
    """Download a corpus unless it is there, and return its folder in the cache.

    A cut download goes on where it stopped, in this call or the next. The folder appears only when it is whole.

    Args:
        corpus: `cornell` (the official zip) or `convokit`.
        url: a mirror; size and digest are demanded all the same.
        on_progress: told how many megabytes have arrived.

    Raises:
        ConfigError: `url` is no address. UnavailableError: the server cannot be reached or does not have the file.
        IntegrityError: what arrived is not the corpus; it is thrown away.
    """
    download = DOWNLOADS[corpus]
    folder = corpus_folder(corpus)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.parent / f"{corpus}.zip.part"
    _download(url or download.url, archive, download, on_progress)
    try:
        _verify(archive, download)
        _unpack(archive, folder, download)
    finally:
        # Whole or wrong, it is of no more use: a wrong one must not be resumed.
        archive.unlink(missing_ok=True)
        _note(archive).unlink(missing_ok=True)
    return folder


def corpus_folder(corpus: str) -> Path:
    """Where a fetched corpus lies in the cache, whether it is there or not."""
    return Settings.from_environment().cache / "corpora" / corpus


# ── download ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _download(url: str, archive: Path, download: Download, on_progress: OnProgress) -> None:
    import httpx

    with httpx.Client(follow_redirects=True, timeout=30.0) as client:
        for attempt in range(_ATTEMPTS):
            before = _size(archive)
            try:
                _continue(client, url, archive, download, on_progress)
                return
            except httpx.HTTPStatusError as err:
                status = err.response.status_code
                if status < 500 or attempt == _ATTEMPTS - 1:
                    raise UnavailableError(_advice(url, f"it answered {status}")) from err
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as err:
                raise ConfigError(f"`url` must be an http or https address, got `{url}`: {err}") from err
            except (httpx.RequestError, _CutOff) as err:
                # A server that gives nothing at all is not asked five times.
                if attempt == _ATTEMPTS - 1 or isinstance(err, httpx.ConnectError | httpx.ConnectTimeout):
                    kept = f"; the {_size(archive)} bytes so far are kept" if _size(archive) else ""
                    raise UnavailableError(_advice(url, f"{err or type(err).__name__}{kept}")) from err
                if _size(archive) == before:
                    time.sleep(0.2 * 2**attempt)


def _continue(client: httpx.Client, url: str, archive: Path, download: Download, on_progress: OnProgress) -> None:
    """One request: the rest of the file where the server can and it is still the same file, else all of it."""
    have, headers = _size(archive), {"Accept-Encoding": "identity"}
    validator = _read_note(archive, url)
    if have and validator is None:
        have = 0
    if have:
        headers["Range"] = f"bytes={have}-"
        headers["If-Range"] = str(validator)
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and have:
            return  # nothing after what is here: the digest will tell whether it is whole
        response.raise_for_status()
        is_rest = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not is_rest:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else download.n_bytes
        if download.n_bytes is not None and total != download.n_bytes:
            raise IntegrityError(
                f"`{url}` must give {download.n_bytes} bytes, got {total}; it is not the corpus, use another `--url`"
            )
        _write_note(archive, url, response)
        with archive.open("r+b" if is_rest else "wb") as file:
            file.seek(have)
            for chunk in response.iter_raw():  # as it arrives: what a buffer holds is lost in a cut
                file.write(chunk)
                have += len(chunk)
                on_progress(Progress(done=have / 1e6, total=(total or have) / 1e6, unit="MB"))
    if total is not None and have < total:
        raise _CutOff(f"the connection ended after {have} of {total} bytes")


class _CutOff(Exception):
    """The server closed the connection early and the protocol did not notice."""


def _note(archive: Path) -> Path:
    return archive.with_name(archive.name + ".json")


def _write_note(archive: Path, url: str, response: httpx.Response) -> None:
    """Keep what identifies this version of the file; a weak ETag does not identify bytes."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    _note(archive).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _read_note(archive: Path, url: str) -> str | None:
    """The validator to resume with; None where the file came from elsewhere or cannot be identified."""
    try:
        note = json.loads(_note(archive).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note.get("validator") if isinstance(note, dict) and note.get("url") == url else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _advice(url: str, reason: str) -> str:
    return (
        f"`{url}` must be reachable to fetch the corpus, got: {reason}; "
        "try again, or name a folder or zip that you have with `--corpus PATH` (`--corpus sample` needs no network)"
    )


# ── what arrived ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _verify(archive: Path, download: Download) -> None:
    """Size and git blob id, before anything reads the zip."""
    n_bytes = archive.stat().st_size
    if download.n_bytes is not None and n_bytes != download.n_bytes:
        raise IntegrityError(f"`{download.url}` must give {download.n_bytes} bytes, got {n_bytes}; fetch it again")
    if download.git_blob is None:
        return
    digest = hashlib.sha1(f"blob {n_bytes}\0".encode(), usedforsecurity=False)
    with archive.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != download.git_blob:
        raise IntegrityError(
            f"`{download.url}` must give the file with git blob id {download.git_blob}, got {digest.hexdigest()}; "
            "fetch it again"
        )


def _unpack(archive: Path, folder: Path, download: Download) -> None:
    """Put the files of the corpus, and no others, into the folder; paths inside the zip decide nothing."""
    try:
        files = open_zip(archive)
    except CorpusError as err:
        raise IntegrityError(f"`{archive.name}` must be the corpus: {err.reason}; fetch it again") from err
    lacking = [name for name in download.required if name not in files]
    if lacking:
        raise IntegrityError(f"`{download.url}` must give a zip with `{lacking[0]}`, got {', '.join(files.names[:6])}")
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name in (*download.required, *(name for name in download.optional if name in files)):
            data = files.read(name)
            expected = download.sha256.get(name)
            if expected is not None and digest_bytes(data) != expected:
                raise IntegrityError(f"`{name}` must have sha256 {expected}, got {digest_bytes(data)}; fetch it again")
            (unfinished / name).write_bytes(data)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
