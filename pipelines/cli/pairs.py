"""`screentest pairs`: preferences made, brought along, and looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.terminal import bold, dim, say, warning
from pipelines.cli import options
from pipelines.cli.presenter import FIGURES, LEVEL, Result, Table, Verbs, figure, written
from pipelines.cli.session import checks, open_session, say_spent

if TYPE_CHECKING:
    from harness.store.tracking import StageResult
    from pipelines.preferences.audit import PairAudit

app = Verbs("Make, import and audit preference pairs.")

ParentOption = Annotated[str, typer.Option(help="The SFT adapter that the pairs are for: name@alias or name/version.")]
OutOption = Annotated[Path | None, typer.Option(help="Also write the pairs here, as JSONL in TRL's form.")]


@app.verb("build")
def build(
    parent: ParentOption = "embedded-sft@candidate",
    corpus: options.Corpus = "sample",
    method: Annotated[
        Literal["judge", "reference", "other"],
        typer.Option(
            help="`judge`: the best against the worst of n candidates. `reference`: the human against a sample. "
            "`other`: the human against what a human replied to another prompt."
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
    top_p: options.TopP = 0.95,
    seed: options.Seed = 7,
    split_seed: options.SplitSeed = 7,
    limit: options.Limit = None,
    out: OutOption = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Make pairs from TRAIN prompts. Killed at any moment, the same command goes on where it was.

    A verdict counts when its margin is clear, and with a judge that compares two replies, when both orders agree.
    """
    from harness.config import parse
    from pipelines.preferences.pair_builder import PairsConfig
    from pipelines.preferences.pair_stages import pairs_stage, parent_of, prepared_for
    from pipelines.preferences.preflight import look_at_pairs

    said: dict[str, Any] = {
        "method": method, "n_pairs": n, "n_candidates": candidates if method == "judge" else 1,
        "judge": None if judge is None else str(judge), "criterion": criterion, "min_margin": min_margin,
        "max_prompt_tokens": max_prompt_tokens, "max_new_tokens": max_new_tokens, "temperature": temperature,
        "top_p": top_p, "seed": seed,
    }  # fmt: skip
    config = parse(said, PairsConfig, where="pairs build")
    session = open_session(force=force, budget_usd=budget_usd)
    start = parent_of(session, parent)
    prepared = prepared_for(session, start, corpus=corpus, seed=split_seed, limit=limit)
    checked = look_at_pairs(session, config, prepared=prepared, parent=start)
    if dry_run:
        return checks(checked)
    checked.begin(session.say)
    made = _made(pairs_stage(session, config, prepared=prepared, parent=start, adopt=True), out=out)
    say_spent(session)
    return made


@app.verb("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL: prompt, chosen, rejected as text or messages.", metavar="FILE")],
    parent: ParentOption = "embedded-sft@candidate",
    corpus: options.Corpus = "sample",
    split_seed: options.SplitSeed = 7,
    limit: options.Limit = None,
    force: options.Force = False,
) -> Result:
    """Bring preferences of your own. Refused: a row near VALIDATION or TEST, or one whose two replies are the same."""
    from pipelines.preferences.pair_stages import import_stage, parent_of, prepared_for

    session = open_session(force=force)
    prepared = prepared_for(session, parent_of(session, parent), corpus=corpus, seed=split_seed, limit=limit)
    return _made(import_stage(session, file, prepared=prepared, adopt=True), out=None)


@app.verb("audit")
def audit(
    pairs: Annotated[
        str, typer.Argument(help="Run id of `pairs build` or `import`, or a JSONL file.", metavar="PAIRS")
    ],
) -> Result:
    """What tells chosen from rejected replies beside being better: length, words, position, copies, repetition."""
    from pipelines.preferences.pair_stages import audit_of

    found = audit_of(open_session(), pairs)
    return Result(data=found, shown=_shown(found))


def _made(stage: StageResult, *, out: Path | None) -> Result:
    from harness.store.artifacts import from_json, read_json
    from pipelines.preferences.audit import PairAudit
    from pipelines.preferences.pair_builder import read_pairs_summary
    from pipelines.preferences.pair_files import PAIRS

    summary = read_pairs_summary(stage.folder)
    found = from_json(PairAudit, read_json(stage.folder / "audit.json"))
    if out is not None:
        out.write_bytes((stage.folder / PAIRS).read_bytes())
    cost = f"{summary.n_generated_tokens:,} tokens in {summary.n_generations:,} replies, {summary.n_judged:,} judged"
    made = f"{bold(f'{summary.n_pairs:,} pairs')} from {summary.n_prompts:,} prompts of {summary.n_films} clusters"
    say(f"{made}: {cost}, {stage.seconds:.0f} s")
    for reason, n in summary.dropped.items():
        say(dim(f"  no pair for {n:,} prompts: {reason}"))
    if summary.n_own_system:
        say(dim(f"  {summary.n_own_system:,} rows brought a system message; the data's own takes its place"))
    known = {"run_id": stage.run_id, "reused": stage.reused, "digest": stage.digest}
    return Result(
        data={**known, "seconds": round(stage.seconds, 2), "summary": summary, "audit": found},
        shown=(*_shown(found), f"run: {stage.run_id}"),
    )


def _shown(found: PairAudit) -> Iterator[Table | str]:
    rows = [
        figure("Length gap, chosen − rejected", found.length_gap, unit="words"),
        figure("Chosen reply is the longer", found.longer_chosen, unit="share"),
        figure("Verdict holds with sides swapped", found.position_agreement, unit="share"),
        figure("Rejected reply repeats the human's", found.near_copies, unit="share"),
        figure("Margin", None if found.margins is None else found.margins.mean, unit="judge's units"),
        ("Rows that repeat an earlier row", found.n_repeated_rows, f"of {found.n_pairs:,}"),
        ("Chosen replies chosen before", found.n_repeated_chosen, f"of {found.n_pairs:,}"),
        ("Rejected replies rejected before", found.n_repeated_rejected, f"of {found.n_pairs:,}"),
    ]
    yield Table(title=f"{found.n_pairs:,} pairs preferred by {found.preferred_by}", columns=FIGURES, rows=rows)
    yield Table(
        title=f"Words that tell the sides apart, of {found.n_words_tested} tested",
        columns=("Word", "Chosen", "Rejected", f"Log odds ratio, {LEVEL} interval", "Adjusted p"),
        rows=[
            (tell.word, tell.n_chosen, tell.n_rejected, written(tell.log_odds),
             None if tell.p_adjusted is None else f"{tell.p_adjusted:.3f}")
            for tell in found.tells[:15]
        ],
    )  # fmt: skip
    yield from (warning(bias.sentence) for bias in found.biases)
