"""Command-line options that many verbs share, spelled once; used as `seed: options.Seed = 7`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from harness.errors import InputError
from harness.settings import ENDPOINTS

Seed = Annotated[int, typer.Option(help="Seed of every random stream of this command.", min=0, max=2**32 - 1)]
Force = Annotated[bool, typer.Option("--force", help="Run every stage again, even where its result stands.")]
Limit = Annotated[
    int | None, typer.Option(help="At most this many windows of each split, drawn by the seed: for a try.", min=1)
]
KeepThinking = Annotated[
    bool,
    typer.Option(
        "--keep-thinking", help="Leave a model's thinking in its replies, to be measured and judged with them."
    ),
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        help="Server that replies in this process's place, e.g. http://gpu1:8000/v1, serving bases and registered "
        "adapters as `screentest serve` does; given again, requests are dealt in turn.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget-usd",
        help="Stop before endpoints could cost this command more. What was answered is kept: run again for the rest, "
        "whose budget counts anew.",
        min=0,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check all that is needed and show it, with calls and price of endpoints; exit 2 if something lacks.",
    ),
]
Corpus = Annotated[
    str, typer.Option(help="`sample`, `cornell`, a folder or zip in Cornell's format, ConvoKit, or a .jsonl file.")
]
Task = Annotated[
    str | None,
    typer.Option(
        help="What the data ask for: dialogue, chat, exact (one right answer), extraction (JSON), code-like, summary, "
        "classification; without it, the data tell."
    ),
]
Profile = Annotated[str | None, typer.Option(help="A profile of the file, e.g. `quick` or `full`.")]
OtherCorpus = Annotated[str | None, typer.Option(help="Instead of the file's corpus.")]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub id.")]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split, as the parent was trained.", min=0)]
Cap = Annotated[int, typer.Option(help="Length cap of every reply.", min=1)]
TopP = Annotated[float, typer.Option(help="Draw from the likeliest tokens of this mass.", min=0.01, max=1)]


def use_endpoints(urls: Sequence[str] | None) -> None:
    """Have this command and its workers ask these servers for replies. Raises InputError: one of them is no address."""

    for url in urls or ():
        if not url.startswith(("http://", "https://")) or "#" in url or "," in url:
            raise InputError(f"`--endpoint` must be the base URL of a server, e.g. http://gpu1:8000/v1, got {url!r}")
    if urls:
        os.environ[ENDPOINTS] = ",".join(urls)
