"""`screentest data`, `screentest prepare`: getting corpora, reading what others wrote, cutting windows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.terminal import bold, dim, progress, say, warning, yellow
from pipelines.cli import options
from pipelines.cli.presenter import Result, Verbs, presented
from pipelines.cli.session import open_session

if TYPE_CHECKING:
    from pipelines.corpus.convert import Conversion

app = Verbs("Download corpora; convert rows of other forms.")


_NEXT = {
    "prompts": "screentest prepare --corpus {out}",
    "sft": "screentest prepare --corpus {out}",
    "pairs": "screentest pairs import {out}",
    "replies": "screentest compare {out} … --data PROMPTS",
}


@app.verb("fetch")
def fetch(
    corpus: Annotated[Literal["cornell", "convokit"], typer.Argument(help="Which corpus.")],
    url: Annotated[str | None, typer.Option(help="Fetch from a mirror; the same digest is demanded.")] = None,
) -> Result:
    """Download a corpus into the user cache: resumes, checks size and digest, unpacks.

    The Cornell Movie-Dialogs Corpus states no licence, only a citation (Danescu-Niculescu-Mizil & Lee, 2011); it is
    downloaded for your own use and never redistributed.
    """
    from pipelines.corpus.fetch import fetch as download

    with progress(f"Fetch {corpus}") as on_progress:
        folder = download(corpus, url=url, on_progress=on_progress)
    say(f"{bold(corpus)} is ready: `screentest quickstart --corpus {corpus}`")
    return Result(data={"corpus": corpus, "folder": str(folder)})


@app.verb("convert")
def convert(
    file: Annotated[Path, typer.Argument(help="Rows: .jsonl, .json (a list) or .parquet.", metavar="FILE")],
    to: Annotated[
        Literal["prompts", "sft", "pairs", "replies"],
        typer.Option(
            help="`prompts` to generate from, `sft` to train on, `pairs` of preferences, `replies` made elsewhere."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write; FILE-TO.jsonl here when left out.")] = None,
    base: Annotated[str, typer.Option(help="Whose template shows the first row: `embedded`, a hub id.")] = "embedded",
) -> Result:
    """Rows of Alpaca, ShareGPT, UltraFeedback, ORPO mixes, hh-rlhf, OpenAI's fine-tuning, or columns of other names.

    Says what it took for what, shows the first row as the model will see it, and counts what it left out.
    """
    from pipelines.corpus import convert as conversion

    made = conversion.convert(file, to=to)
    written = out or Path(f"{file.stem}-{to}.jsonl")
    n = conversion.write(made, written)
    data = {
        "file": str(written), "rows": n, "form": made.form, "taken": made.taken, "thoughts": made.n_thoughts,
        "left_out": made.left_out, "not_read": made.unread, "repaired": made.n_repaired,
    }  # fmt: skip
    say("\n  ".join((f"{bold(f'{n:,} rows')} in {written}, from {made.form}", *_account(made))))
    next_step = f"Next: {_NEXT[to].format(out=shlex.quote(str(written)))}"
    return Result(
        data=data, shown=_seen_by(base, made), notes=(f"Above: the first of them, as {base} sees it.", next_step)
    )


def _account(made: Conversion) -> list[str]:
    """What was taken for what, left out, not read and repaired."""
    return [
        *(f"{what} ({n})" for what, n in made.taken.items()),
        *(yellow(f"left out: {n:,} {reason}") for reason, n in made.left_out.items()),
        *([yellow(f"left out: {made.n_thoughts:,} thoughts of a model")] if made.n_thoughts else []),
        *(dim(f"not read: `{key}` of {n:,} rows") for key, n in made.unread.items()),
        *([yellow(f"repaired: {made.n_repaired:,} characters that cannot be stored")] if made.n_repaired else []),
    ]


def _seen_by(base: str, made: Conversion) -> Iterator[str]:
    """The first row through the base's chat template, which is loaded only to be shown."""
    from harness.models.bases import load_tokenizer, resolve_base
    from harness.models.chat_templates import chat_messages, render

    tokenizer = load_tokenizer(resolve_base(base))
    own = [m.content for m in made.first if m.role == "system"]
    turns = [m for m in made.first if m.role != "system"]
    is_answered = turns[-1].role == "assistant"
    prompt = chat_messages(turns[:-1] if is_answered else turns, system=own[0] if own else None)
    replies = [turns[-1].content] if is_answered else []
    shown = [
        tokenizer.decode(
            list(render(tokenizer, [*prompt, {"role": "assistant", "content": reply}], reply_follows=False))
        )
        for reply in [*replies, *([] if made.rejected is None else [made.rejected])]
    ] or [tokenizer.decode(list(render(tokenizer, prompt)))]
    yield "\n— rejected —\n".join(str(text).rstrip() for text in shown)


@presented
def prepare(
    corpus: options.Corpus = "sample",
    base: Annotated[str, typer.Option(help="Whose tokenizer: `embedded`, a hub id or a folder.")] = "embedded",
    revision: options.Revision = None,
    max_tokens: Annotated[int, typer.Option(help="Longest window: history and reply.", min=32)] = 512,
    seed: options.Seed = 7,
    limit: options.Limit = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Skip and count bad rows instead of stopping.")] = False,
    force: options.Force = False,
) -> Result:
    """Split a corpus by film into TRAIN, VALIDATION and TEST, and cut it into windows.

    Ends with one JSON object on stdout, with and without --json: what was found, repaired, skipped and split.
    """
    from harness.store.artifacts import to_json
    from harness.store.prepared import read_summary
    from pipelines.corpus.prepare import PrepareConfig, prepare_stage

    config = PrepareConfig(
        corpus=corpus, base=base, base_revision=revision, max_tokens=max_tokens, seed=seed, limit=limit, lenient=lenient
    )
    result = prepare_stage(open_session(force=force), config, adopt=True)
    summary = read_summary(result.folder)
    found = {"run_id": result.run_id, "reused": result.reused, "folder": str(result.folder), **to_json(summary)}
    limits = (warning(f"verdicts on this corpus: {summary.verdict_limit}"),) if summary.verdict_limit else ()
    return Result(data=found, shown=(found,), notes=limits)
