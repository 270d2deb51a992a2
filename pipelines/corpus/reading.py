"""One way in: a name, a folder, a zip or a JSONL file becomes a `Corpus`."""

from __future__ import annotations

from pathlib import Path

from harness.doors import functions
from harness.doors.text import parse_json
from harness.errors import CorpusError, UnavailableError
from harness.settings import Settings
from harness.store.prepared import CorpusKind
from pipelines.corpus import convokit, cornell, sample
from pipelines.corpus.containers import FileSet, open_folder, open_zip
from pipelines.corpus.corpus import Corpus, Tally
from pipelines.corpus.fetch import DOWNLOADS, corpus_folder
from pipelines.corpus.jsonl import read_jsonl_corpus, require_text

GROUP = "screentest.corpora"  # entry points


def read_corpus(spec: str | Path, *, lenient: bool = False, settings: Settings | None = None) -> Corpus:
    """Read a corpus.

    Args:
        spec: `sample`; `cornell` or `convokit` (fetched before); a folder or zip in Cornell's layout or ConvoKit's; an
            `utterances.jsonl`; a JSONL file of one's own; or the name of a corpus that an installed package offers, by
            a function that gives its path. A folder that is called `sample` is `./sample`.
        lenient: skip and count what cannot be used instead of raising.
        settings: where the cache lies; from the environment unless given.

    Raises:
        CorpusError: the input breaks its format; the message names file, line and reason.
        UnavailableError: `cornell` or `convokit` has not been fetched.
    """
    tally = Tally(lenient=lenient)
    if spec == sample.NAME:
        return sample.read_sample(tally=tally)
    if isinstance(spec, str) and spec in DOWNLOADS:
        folder = corpus_folder(spec, settings)
        if not folder.is_dir():
            raise UnavailableError(
                f"`{spec}` must be fetched before it is read, got nothing at `{folder}`; "
                f"run `screentest data fetch {spec}`, or name a folder or zip with `--corpus`"
            )
        return _from_files(open_folder(folder), name=spec, source="cornell", tally=tally)
    path = Path(spec).expanduser()
    if not path.exists() and (address := functions.entry_point(GROUP, str(spec))) is not None:
        return read_corpus(Path(functions.load(address)()), lenient=lenient, settings=settings)
    if path.is_dir():
        return _from_files(open_folder(path), name=path.resolve().name, source="cornell", tally=tally)
    if not path.is_file():
        raise CorpusError(
            path, "a corpus must be `sample`, `cornell`, a folder, a zip or a JSONL file, got no such file"
        )
    if path.suffix.lower() == ".zip":
        return _from_files(open_zip(path), name=path.stem, source="cornell", tally=tally)
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise CorpusError(path, f"a corpus file must be a .zip or a .jsonl, got `{path.name}`")
    return _from_jsonl(path, tally=tally)


def _from_files(files: FileSet, *, name: str, source: CorpusKind, tally: Tally) -> Corpus:
    if convokit.UTTERANCES in files:
        return convokit.read_convokit(files, name=name, tally=tally)
    if any(file.startswith("movie_") and file.endswith(".txt") for file in files.names):
        return cornell.read_cornell(files, name=name, source=source, tally=tally)
    found = ", ".join(f"`{file}`" for file in files.names[:6]) or "nothing"
    wanted = f"`{cornell.LINES}` and `{cornell.CONVERSATIONS}`, or `{convokit.UTTERANCES}`"
    raise CorpusError(files.label, f"a corpus folder must hold {wanted}, got {found}")


def _from_jsonl(path: Path, *, tally: Tally) -> Corpus:
    if path.name == convokit.UTTERANCES or convokit.looks_like_convokit(_first_row(path)):
        beside = [path.parent / file for file in (convokit.CONVERSATIONS, *convokit.SPEAKERS)]
        files = {file.name: file for file in beside if file.is_file()} if path.name == convokit.UTTERANCES else {}
        files[convokit.UTTERANCES] = path
        return convokit.read_convokit(FileSet(files, label=str(path.parent)), name=path.stem, tally=tally)
    data = path.read_bytes()
    require_text(data, str(path))
    return read_jsonl_corpus(data, file=str(path), name=path.stem, tally=tally)


def _first_row(path: Path) -> dict[str, object]:
    """The first row when it can be read as an object; empty otherwise, and the reader will say what is wrong."""
    with path.open("rb") as stream:
        first = next((line for line in stream if line.strip()), b"")
    try:
        value = parse_json(first.decode(errors="replace"), file=path)
    except CorpusError:
        return {}
    return value if isinstance(value, dict) else {}
