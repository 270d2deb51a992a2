"""`screentest prepare`: a corpus into splits and windows."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.terminal import warning
from pipelines.cli.options import CorpusOption, ForceOption, LimitOption, RevisionOption, SeedOption
from pipelines.cli.presenter import Result, presented


@presented
def prepare(
    corpus: CorpusOption = "sample",
    base: Annotated[str, typer.Option(help="Whose tokenizer: `embedded`, a hub id or a folder.")] = "embedded",
    revision: RevisionOption = None,
    max_tokens: Annotated[int, typer.Option(help="Longest window: history and reply.", min=32)] = 512,
    seed: SeedOption = 7,
    limit: LimitOption = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Skip and count bad rows instead of stopping.")] = False,
    force: ForceOption = False,
) -> Result:
    """Split a corpus by film into TRAIN, VALIDATION and TEST, and cut it into windows.

    Ends with one JSON object on stdout, with and without --json: what was found, repaired, skipped and split.
    """
    from harness.store.artifacts import to_json
    from harness.store.prepared import read_summary
    from pipelines.cli.session import open_session
    from pipelines.corpus.prepare import PrepareConfig, prepare_stage

    config = PrepareConfig(
        corpus=corpus, base=base, base_revision=revision, max_tokens=max_tokens, seed=seed, limit=limit, lenient=lenient
    )
    result = prepare_stage(open_session(force=force), config, adopt=True)
    summary = read_summary(result.folder)
    found = {"run_id": result.run_id, "reused": result.reused, "folder": str(result.folder), **to_json(summary)}
    limits = (warning(f"verdicts on this corpus: {summary.verdict_limit}"),) if summary.verdict_limit else ()
    return Result(data=found, shown=(found,), notes=limits)
