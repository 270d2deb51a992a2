"""`screentest data`: getting corpora, and reading what others wrote."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.terminal import bold, dim, yellow
from pipelines.cli.console import JsonOption, emit, progress, say, stdout

if TYPE_CHECKING:
    from pipelines.corpus.convert import Conversion

app = typer.Typer(
    help="Download corpora; convert rows of other forms.", no_args_is_help=True, rich_markup_mode="markdown"
)


class Source(str, Enum):  # noqa: UP042  # typer prints the values of str enums
    """Corpora that can be fetched."""

    cornell = "cornell"
    convokit = "convokit"


class Target(str, Enum):  # noqa: UP042
    """What rows can become."""

    prompts = "prompts"
    sft = "sft"
    pairs = "pairs"
    replies = "replies"


_NEXT = {
    "prompts": "screentest prepare --corpus {out}",
    "sft": "screentest prepare --corpus {out}",
    "pairs": "screentest pairs import {out}",
    "replies": "screentest compare {out} … --data PROMPTS",
}


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


@app.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(help="Rows: .jsonl, .json (a list) or .parquet.", metavar="FILE")],
    to: Annotated[
        Target,
        typer.Option(
            help="`prompts` to generate from, `sft` to train on, `pairs` of preferences, `replies` made elsewhere."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write; FILE-TO.jsonl here when left out.")] = None,
    base: Annotated[str, typer.Option(help="Whose template shows the first row: `embedded`, a hub id.")] = "embedded",
    json: JsonOption = False,
) -> None:
    """Rows of Alpaca, ShareGPT, UltraFeedback, ORPO mixes, hh-rlhf, OpenAI's fine-tuning, or columns of other names.

    Says what it took for what, shows the first row as the model will see it, and counts what it left out.
    """
    from pipelines.corpus import convert as conversion

    made = conversion.convert(file, to=to.value)
    written = out or Path(f"{file.stem}-{to.value}.jsonl")
    n = conversion.write(made, written)
    if json:
        emit(
            {"file": str(written), "rows": n, "form": made.form, "taken": dict(made.taken), "thoughts": made.n_thoughts,
             "left_out": dict(made.left_out), "not_read": dict(made.unread), "repaired": made.n_repaired}
        )  # fmt: skip
        return
    say(f"{bold(f'{n:,} rows')} in {written}, from {made.form}")
    for line in _told(made):
        say(f"  {line}")
    say(f"The first, as {base} sees it:")
    stdout().print(_seen_by(base, made), soft_wrap=True)
    say(f"Next: {_NEXT[to.value].format(out=shlex.quote(str(written)))}")


def _told(made: Conversion) -> list[str]:
    return [
        *(f"{what} ({n})" for what, n in made.taken.items()),
        *(yellow(f"left out: {n:,} {reason}") for reason, n in made.left_out.items()),
        *([yellow(f"left out: {made.n_thoughts:,} thoughts of a model")] if made.n_thoughts else []),
        *(dim(f"not read: `{key}` of {n:,} rows") for key, n in made.unread.items()),
        *([yellow(f"repaired: {made.n_repaired:,} characters that cannot be stored")] if made.n_repaired else []),
    ]


def _seen_by(base: str, made: Conversion) -> str:
    """The first row through the base's chat template."""
    from harness.models.bases import load_tokenizer, resolve_base
    from harness.models.chat import chat_messages, render
    from pipelines.corpus.prepare import CHAT_SYSTEM

    tokenizer = load_tokenizer(resolve_base(base))
    own = [m.content for m in made.first if m.role == "system"]
    turns = [m for m in made.first if m.role != "system"]
    is_answered = turns[-1].role == "assistant"
    prompt = chat_messages(turns[:-1] if is_answered else turns, system=own[0] if own else CHAT_SYSTEM)
    replies = [turns[-1].content] if is_answered else []
    shown = [
        tokenizer.decode(
            list(render(tokenizer, [*prompt, {"role": "assistant", "content": reply}], reply_follows=False))
        )
        for reply in [*replies, *([] if made.rejected is None else [made.rejected])]
    ] or [tokenizer.decode(list(render(tokenizer, prompt)))]
    return "\n— rejected —\n".join(str(text).rstrip() for text in shown)
