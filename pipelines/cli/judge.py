"""`screentest judge`: scoring replies, and finding out whether a judge may be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.console import CorpusOption, ForceOption, JsonOption, SeedOption, emit, say, stdout, table

app = typer.Typer(help="Run and qualify judges.", no_args_is_help=True, rich_markup_mode="markdown")

JudgeArgument = Annotated[
    Path, typer.Argument(help="A judge's folder, e.g. experiments/judges/embedded-likelihood.", metavar="JUDGE")
]


@app.command("run")
def run(
    judge: JudgeArgument,
    generations: Annotated[
        Path, typer.Option(help="JSONL of replies: prompt_id, text; `screentest generate --out` writes it.")
    ],
    corpus: CorpusOption = "sample",
    data: Annotated[Path | None, typer.Option(help="Instead of a corpus: the JSONL of test prompts.")] = None,
    seed: SeedOption = 7,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Score replies on every criterion of a judge. A reply that cannot be scored is missing, with its reason."""
    from pipelines.cli.session import open_session
    from pipelines.judging import score_file

    scored = score_file(open_session(force=force), judge, generations=generations, corpus=corpus, data=data, seed=seed)
    if json:
        emit(
            {
                "run_id": scored.stage.run_id,
                "judge_id": scored.judge_id,
                "estimates": [
                    {"name": criterion, "value": e.value, "low": e.low, "high": e.high, "n": e.n,
                     "n_clusters": e.n_clusters, "n_missing": e.n_missing, "method": e.method}
                    for criterion, e in scored.estimates.items()
                ],
            }
        )  # fmt: skip
        return
    from harness.reporting.numbers import write_estimate

    written = {name: write_estimate(e, unit=scored.unit) for name, e in scored.estimates.items()}
    columns = ("Criterion", "Mean, 95 % interval", "n")
    table(scored.judge_id, columns, [(name, w.effect, w.basis) for name, w in written.items()])


@app.command("qualify")
def qualify(
    judge: JudgeArgument,
    corpus: CorpusOption = "sample",
    n_controls: Annotated[
        int | None, typer.Option(help="True replies per control family; the judge's own setting when left out.", min=2)
    ] = None,
    seed: SeedOption = 7,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Can this judge tell true replies from planted faults? Qualified, not qualified or inconclusive, per criterion."""
    from harness.reporting.numbers import write_estimate
    from pipelines.cli.session import open_session
    from pipelines.judging import qualification_json, qualify_judge

    found = qualify_judge(open_session(force=force), judge, corpus=corpus, n=n_controls, seed=seed)
    if json:
        emit([qualification_json(q) for q in found])
        return
    columns = ("Control family", "AUC, 95 % interval", "Concordance", "n", "Status")
    marks = {"qualified": "[green]qualified[/green]", "not_qualified": "[red]not qualified[/red]"}
    for qualification in found:
        rows = []
        for family in qualification.families:
            auc, paired = (write_estimate(e, unit="") for e in (family.auc, family.concordance))
            status = marks.get(family.status, family.status)
            rows.append((f"{family.family} ({family.kind})", auc.effect, paired.effect, auc.rows, status))
        title = f"{qualification.criterion}: {qualification.status.replace('_', ' ')}"
        table(title, columns, rows)
        stdout().print(f"  {qualification.reason}\n", style="dim", soft_wrap=True)
    say("A qualified judge sees planted faults; whether it agrees with people is another question.")


@app.command("validate")
def validate(
    study: Annotated[str, typer.Argument(help="A study whose raters marked or compared the same replies.")],
    scores: Annotated[
        list[str],
        typer.Option(
            help="Run with a judge's scores, or an evaluation; `sft=RUN` where it scored one file of replies."
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Does the judge agree with people? Agreement, stand-in test, bias, and contrasts corrected by people's ratings."""
    from harness.artifacts import to_json
    from harness.database import open_database
    from harness.ratings.studies import find_study
    from harness.settings import Settings
    from pipelines.cli.judge_validation import show
    from pipelines.cli.session import open_session
    from pipelines.validation import validate_judge

    engine = open_database(Settings.from_environment().database_url)
    found = validate_judge(open_session(), engine, find_study(engine, study), scores)
    if json:
        emit(to_json(found))
        return
    show(found)
