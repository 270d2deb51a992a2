"""The sample that ships: scenes of invented films, written for this project, in Cornell's four-file layout."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

from pipelines.corpus.containers import FileSet
from pipelines.corpus.corpus import Corpus, Tally
from pipelines.corpus.formats.cornell import read_cornell

NAME = "sample"


def read_sample(*, tally: Tally) -> Corpus:
    """The sample as a corpus; it comes with the package and needs no network."""
    folder = files("pipelines.corpus").joinpath("sample")
    return replace(read_cornell(FileSet.below(folder, label=NAME), name=NAME, tally=tally), source=NAME)
