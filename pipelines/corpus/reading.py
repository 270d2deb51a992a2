"""One way in: a name, a folder, a zip or a JSONL file becomes a `Corpus`."""

from __future__ import annotations

import functools
from pathlib import Path

from harness.declarations import declared
from harness.doors import functions
from harness.errors import CorpusError, UnavailableError
from harness.settings import Settings
from pipelines.corpus import sample
from pipelines.corpus.containers import FileSet, open_folder, open_zip
from pipelines.corpus.corpus import Corpus, Format, Tally
from pipelines.corpus.fetch import DOWNLOADS, corpus_folder

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
        return _from_folder(open_folder(folder), spec, tally)
    path = Path(spec).expanduser()
    if not path.exists() and (address := functions.entry_point(GROUP, str(spec))) is not None:
        return read_corpus(Path(functions.load(address)()), lenient=lenient, settings=settings)
    if path.is_dir():
        return _from_folder(open_folder(path), path.resolve().name, tally)
    if not path.is_file():
        raise CorpusError(
            path, "a corpus must be `sample`, `cornell`, a folder, a zip or a JSONL file, got no such file"
        )
    if path.suffix.lower() == ".zip":
        return _from_folder(open_zip(path), path.stem, tally)
    found = (form.from_file(path, path.stem, tally) for form in formats())
    corpus = next((corpus for corpus in found if corpus is not None), None)
    if corpus is None:
        raise CorpusError(path, f"a corpus file must be a .zip or a .jsonl, got `{path.name}`")
    return corpus


@functools.cache
def formats() -> tuple[Format, ...]:
    """Every format there is, one module of the package each; the one that takes what is left over comes last."""
    found: list[Format] = declared("pipelines.corpus.formats", "FORMAT")
    return tuple(sorted(found, key=lambda form: form.is_last))


def _from_folder(files: FileSet, name: str, tally: Tally) -> Corpus:
    corpora = (form.from_folder(files, name, tally) for form in formats())
    corpus = next((corpus for corpus in corpora if corpus is not None), None)
    if corpus is None:
        found = ", ".join(f"`{file}`" for file in files.names[:6]) or "nothing"
        wanted = ", or ".join(form.folder for form in formats() if form.folder)
        raise CorpusError(files.label, f"a corpus folder must hold {wanted}, got {found}")
    return corpus
