"""`screentest pairs`: preferences made, brought along, and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.terminal import bold, dim, warning
from pipelines.cli.console import (
    CorpusOption,
    ForceOption,
    JsonOption,
    LimitOption,
    SeedOption,
    emit,
    say,
    stdout,
    table,
)

if TYPE_CHECKING:
    from harness.store.tracking import StageResult
    from pipelines.preferences.audit import PairAudit

app = typer.Typer(help="Make, import and audit preference pairs.", no_args_is_help=True, rich_markup_mode="markdown")

ParentOption = Annotated[str, typer.Option(help="The SFT adapter that the pairs are for: name@alias or name/version.")]
SplitSeedOption = Annotated[int, typer.Option(help="Seed of the split by film, as the parent was trained.", min=0)]
OutOption = Annotated[Path | None, typer.Option(help="Also write the pairs here, as JSONL in TRL's form.")]


@app.command("build")
def build(
    parent: ParentOption = "embedded-sft@candidate",
    corpus: CorpusOption = "sample",
    method: Annotated[
        Literal["judge", "reference"],
        typer.Option(
            help="`judge`: the best against the worst of n candidates. `reference`: the human against a sample."
        ),
    ] = "judge",
    judge: Annotated[Path | None, typer.Option(help="A judge's folder, with `--method judge`.")] = None,
    criterion: Annotated[str | None, typer.Option(help="Of that judge; its first when left out.")] = None,
    n: Annotated[int, typer.Option("--n", help="Pairs wanted.", min=1)] = 10_000,
    candidates: Annotated[int, typer.Option(help="Replies of the parent to each prompt.", min=1, max=64)] = 4,
    min_margin: Annotated[
        float, typer.Option(help="Smallest difference of scores, in the judge's units.", min=0)
    ] = 0.0,
    max_prompt_tokens: Annotated[int, typer.Option(help="A longer prompt is passed over.", min=8)] = 384,
    max_new_tokens: Annotated[int, typer.Option(help="Length cap of a candidate.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="Of the candidates.", min=0.01)] = 0.8,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens of this mass.", min=0.01, max=1)] = 0.95,
    seed: SeedOption = 7,
    split_seed: SplitSeedOption = 7,
    limit: LimitOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Make pairs from TRAIN prompts. Killed at any moment, the same command goes on where it was.

    A verdict counts when its margin is clear, and with a judge that compares two replies, when both orders agree.
    """
    from harness.config import parse
    from pipelines.cli.session import open_session
    from pipelines.preferences.build import PairsConfig
    from pipelines.preferences.stages import pairs_stage, parent_of_name, prepared_for

    said: dict[str, Any] = {
        "method": method, "n_pairs": n, "n_candidates": 1 if method == "reference" else candidates,
        "judge": None if judge is None else str(judge), "criterion": criterion, "min_margin": min_margin,
        "max_prompt_tokens": max_prompt_tokens, "max_new_tokens": max_new_tokens, "temperature": temperature,
        "top_p": top_p, "seed": seed,
    }  # fmt: skip
    config = parse(said, PairsConfig, where="pairs build")
    session = open_session(force=force)
    start = parent_of_name(session, parent)
    prepared = prepared_for(session, start, corpus=corpus, seed=split_seed, limit=limit)
    _show(pairs_stage(session, config, prepared=prepared, parent=start, adopt=True), out=out, json=json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL: prompt, chosen, rejected as text or messages.", metavar="FILE")],
    parent: ParentOption = "embedded-sft@candidate",
    corpus: CorpusOption = "sample",
    split_seed: SplitSeedOption = 7,
    limit: LimitOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Bring preferences of your own. Refused: a row near VALIDATION or TEST, or one whose two replies are the same."""
    from pipelines.cli.session import open_session
    from pipelines.preferences.stages import import_stage, parent_of_name, prepared_for

    session = open_session(force=force)
    prepared = prepared_for(session, parent_of_name(session, parent), corpus=corpus, seed=split_seed, limit=limit)
    _show(import_stage(session, file, prepared=prepared, adopt=True), out=None, json=json)


@app.command("audit")
def audit(
    pairs: Annotated[
        str, typer.Argument(help="Run id of `pairs build` or `import`, or a JSONL file.", metavar="PAIRS")
    ],
    json: JsonOption = False,
) -> None:
    """What tells chosen from rejected replies beside being better: length, words, position, copies, repetition."""
    from harness.store.artifacts import to_json
    from pipelines.cli.session import open_session
    from pipelines.preferences.stages import audit_of

    found = audit_of(open_session(), pairs)
    if json:
        emit(to_json(found))
    else:
        _table(found)


def _show(stage: StageResult, *, out: Path | None, json: bool) -> None:
    from harness.store.artifacts import from_json, read_json, to_json
    from pipelines.preferences.audit import PairAudit
    from pipelines.preferences.build import read_pairs_summary
    from pipelines.preferences.files import PAIRS

    summary = read_pairs_summary(stage.folder)
    found = from_json(PairAudit, read_json(stage.folder / "audit.json"))
    if out is not None:
        out.write_bytes((stage.folder / PAIRS).read_bytes())
    cost = f"{summary.n_generated_tokens:,} tokens in {summary.n_generations:,} replies, {summary.n_judged:,} judged"
    made = f"{bold(f'{summary.n_pairs:,} pairs')} from {summary.n_prompts:,} prompts of {summary.n_films} films"
    say(f"{made}: {cost}, {stage.seconds:.0f} s")
    for reason, n in summary.dropped.items():
        say(dim(f"  no pair for {n:,} prompts: {reason}"))
    if summary.n_own_system:
        say(dim(f"  {summary.n_own_system:,} rows brought a system message; the data's own takes its place"))
    if json:
        known = {"run_id": stage.run_id, "reused": stage.reused, "digest": stage.digest}
        emit({**known, "seconds": round(stage.seconds, 2), "summary": to_json(summary), "audit": to_json(found)})
        return
    _table(found)
    stdout().print(f"run: {stage.run_id}", soft_wrap=True)


def _table(found: PairAudit) -> None:
    from harness.reporting.numbers import write_estimate

    rows = []
    measured = (
        ("Length gap, chosen − rejected", found.length_gap, "words"),
        ("Chosen reply is the longer", found.longer_chosen, "share"),
        ("Verdict holds with sides swapped", found.position_agreement, "share"),
        ("Rejected reply repeats the human's", found.near_copies, "share"),
        ("Margin", None if found.margins is None else found.margins.mean, "judge's units"),
    )
    for label, estimate, unit in measured:
        if estimate is None:
            rows.append((label, "not measured", ""))
            continue
        written = write_estimate(estimate, unit=unit)
        rows.append((label, written.effect, written.basis))
    for label, n in (
        ("Rows that repeat an earlier row", found.n_repeated_rows),
        ("Chosen replies chosen before", found.n_repeated_chosen),
        ("Rejected replies rejected before", found.n_repeated_rejected),
    ):
        rows.append((label, f"{n:,}", f"of {found.n_pairs:,}"))
    table(
        f"{found.n_pairs:,} pairs preferred by {found.preferred_by}", ("Measure", "Estimate, 95 % interval", "n"), rows
    )
    tells = [
        (tell.word, f"{tell.n_chosen}", f"{tell.n_rejected}", write_estimate(tell.log_odds, unit="").effect,
         "" if tell.p_adjusted is None else f"{tell.p_adjusted:.3f}")
        for tell in found.tells[:15]
    ]  # fmt: skip
    head = ("Word", "Chosen", "Rejected", "Log odds ratio, 95 % interval", "Adjusted p")
    table(f"Words that tell the sides apart, of {found.n_words_tested} tested", head, tells)
    for bias in found.biases:
        stdout().print(warning(bias.sentence), soft_wrap=True)
