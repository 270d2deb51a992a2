"""`screentest data`: getting corpora."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from pipelines.cli.console import JsonOption, emit, progress, say
from pipelines.styles import bold

app = typer.Typer(help="Download corpora.", no_args_is_help=True, rich_markup_mode="markdown")


class Source(str, Enum):  # noqa: UP042  # typer prints the values of str enums
    """Corpora that can be fetched."""

    cornell = "cornell"
    convokit = "convokit"


@app.command("fetch")
def fetch(
    corpus: Annotated[Source, typer.Argument(help="Which corpus.")],
    url: Annotated[str | None, typer.Option(help="Fetch from a mirror; the same digest is demanded.")] = None,
    json: JsonOption = False,
) -> None:
    """Download a corpus into the user cache: resumes, checks size and digest, unpacks.

    The Cornell Movie-Dialogs Corpus states no licence, only a citation (Danescu-Niculescu-Mizil & Lee, 2011); it is
    downloaded for your own use and never redistributed.
    """
    from pipelines.corpus.fetch import fetch as download

    with progress(f"Fetch {corpus.value}") as on_progress:
        folder = download(corpus.value, url=url, on_progress=on_progress)
    say(f"{bold(corpus.value)} is ready: `screentest quickstart --corpus {corpus.value}`")
    if json:
        emit({"corpus": corpus.value, "folder": str(folder)})
