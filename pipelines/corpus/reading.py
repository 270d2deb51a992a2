"""One way in: a name, a folder, a zip or a JSONL file becomes a `Corpus`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

from harness.declarations import declared
from harness.doors import functions
from harness.errors import CorpusError, UnavailableError
from harness.experiment.task_choice import DataLook
from pipelines.corpus.containers import FileSet, open_zip
from pipelines.corpus.corpus import Corpus, Format, Tally
from pipelines.corpus.fetch import DOWNLOADS, corpus_folder
from pipelines.corpus.splits import with_clusters_to_resample

SAMPLE = "sample"
GROUP = "screentest.corpora"  # entry points


def read_corpus(spec: str | Path, *, lenient: bool = False) -> Corpus:
    """Read a corpus.

    Args:
        spec: `sample`; `cornell` or `convokit` (fetched before); a folder or zip in Cornell's layout or ConvoKit's; an
            `utterances.jsonl`; a JSONL file of one's own; or the name of a corpus that an installed package offers, by
            a function that gives its path. A folder that is called `sample` is `./sample`.
        lenient: skip and count what cannot be used instead of raising.

    Raises:
        CorpusError: the input breaks its format; the message names file, line and reason.
        UnavailableError: `cornell` or `convokit` has not been fetched.
    """
    tally = Tally(lenient=lenient)
    if spec == SAMPLE:  # scenes of invented films, which come with the package in Cornell's layout
        files = FileSet.below(resources.files("pipelines.corpus").joinpath("sample"), label=SAMPLE)
        return replace(_from_folder(files, SAMPLE, tally), source=SAMPLE)
    if isinstance(spec, str) and spec in DOWNLOADS:
        folder = corpus_folder(spec)
        if not folder.is_dir():
            raise UnavailableError(
                f"`{spec}` must be fetched before it is read, got nothing at `{folder}`; "
                f"run `screentest data fetch {spec}`, or name a folder or zip with `--corpus`"
            )
        return _from_folder(FileSet.below(folder), spec, tally)
    path = Path(spec).expanduser()
    if not path.exists() and (address := functions.entry_point(GROUP, str(spec))) is not None:
        return read_corpus(Path(functions.load(address)()), lenient=lenient)
    if path.is_dir():
        return _from_folder(FileSet.below(path), path.resolve().name, tally)
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


def look_at(spec: str) -> DataLook:
    """What data hold, read but not tokenised.

    Raises:
        CorpusError: they break their format. UnavailableError: they were not fetched.
    """
    corpus = read_corpus(spec)
    resampled = with_clusters_to_resample(corpus)
    rows = list(_rows(corpus))
    return DataLook(
        is_dialogue=corpus.reply_rule == "every_turn",
        has_system=corpus.system is not None,
        prompts=tuple(asked for asked, _ in rows),
        references=tuple(reply for _, reply in rows),
        unit=resampled.cluster_unit,
        n_clusters=len(resampled.clusters),
        lines=tuple(f"{n:,} × {what}" for counts in (resampled.repaired, resampled.seen) for what, n in counts.items()),
    )


def _rows(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Prompt and reference of every row; the reference is empty where the row has none."""
    for conversation in corpus.conversations:
        *asked, last = conversation.utterances
        may_reply = corpus.reply_rule == "every_turn" or last.speaker_id == "assistant"
        is_reply = bool(asked) and may_reply and last.id not in corpus.history_only
        yield (
            "\n".join(line.text for line in (asked if is_reply else conversation.utterances)),
            last.text if is_reply else "",
        )
