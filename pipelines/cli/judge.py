"""`screentest judge`: scoring replies, and finding out whether a judge may be believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.terminal import green, red, warning
from pipelines.cli.console import (
    BudgetOption,
    CorpusOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    SeedOption,
    emit,
    say,
    stdout,
    table,
)

if TYPE_CHECKING:
    from harness.experiment.session import Session

app = typer.Typer(help="Run and qualify judges.", no_args_is_help=True, rich_markup_mode="markdown")

JudgeArgument = Annotated[
    Path, typer.Argument(help="A judge's folder, e.g. experiments/judges/embedded-likelihood.", metavar="JUDGE")
]

GenerationsOption = Annotated[
    Path, typer.Option(help="JSONL of replies: prompt_id, text; `screentest generate --out` writes it.")
]
DataOption = Annotated[Path | None, typer.Option(help="Instead of a corpus: the JSONL of test prompts.")]


@app.command("run")
def run(
    judge: JudgeArgument,
    generations: GenerationsOption,
    against: Annotated[
        Path | None, typer.Option(help="For a pairwise judge: the JSONL to compare with, reply by reply.")
    ] = None,
    corpus: CorpusOption = "sample",
    data: DataOption = None,
    traces: Annotated[
        bool, typer.Option("--traces", help="Also write every reply as an MLflow trace with the scores as feedback.")
    ] = False,
    budget_usd: BudgetOption = None,
    dry_run: DryRunOption = False,
    seed: SeedOption = 7,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Score replies on every criterion of a judge, or compare two files of them.

    A reply that cannot be scored is missing, with its reason.
    """
    from harness.errors import InputError
    from harness.experiment.judges.judge_files import plan_files, score_file
    from harness.judging.spec import load_judge_spec
    from pipelines.cli.session import open_session
    from pipelines.cli.spending import say_spent, show_plan

    is_pairwise = load_judge_spec(judge).method == "pairwise"
    if is_pairwise != (against is not None):
        raise InputError(
            f"`--against` must be given exactly for a pairwise judge; {judge.name} {'is' if is_pairwise else 'is not'} "
            "one"
        )
    session = open_session(force=force, budget_usd=budget_usd)
    if dry_run:
        planned = plan_files(
            session, judge, generations=generations, against=against, corpus=corpus, data=data, seed=seed
        )
        show_plan(planned, json=json)
        return
    if against is not None:
        _compare(session, judge, generations, against, corpus=corpus, data=data, seed=seed, json=json)
        return
    scored = score_file(
        session, judge, generations=generations, corpus=corpus, data=data, seed=seed, with_traces=traces
    )
    say_spent(session)
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
    controls: Annotated[
        Path | None, typer.Option(help="JSONL of controls of your own, judged besides the planted ones.")
    ] = None,
    judged_family: Annotated[
        list[str] | None,
        typer.Option(help="Family of a model to be judged, or of what made its preferences; may be repeated."),
    ] = None,
    budget_usd: BudgetOption = None,
    dry_run: DryRunOption = False,
    seed: SeedOption = 7,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Can this judge tell true replies from planted faults? Qualified, not qualified or inconclusive, per criterion."""
    from harness.experiment.judges.judge_files import plan_qualification, qualification_json, qualify_judge
    from harness.judging.qualification import is_self_judging
    from harness.judging.spec import load_judge_spec
    from harness.reporting.numbers import write_estimate
    from pipelines.cli.session import open_session
    from pipelines.cli.spending import say_spent, show_plan

    session = open_session(force=force, budget_usd=budget_usd)
    if dry_run:
        planned = plan_qualification(session, judge, corpus=corpus, n=n_controls, seed=seed, own_controls=controls)
        show_plan(planned, json=json)
        return
    found = qualify_judge(session, judge, corpus=corpus, n=n_controls, seed=seed, own_controls=controls)
    say_spent(session)
    own = load_judge_spec(judge).family
    shares_family = is_self_judging(own, judged_family) if judged_family else None
    if json:
        emit([qualification_json(q, shares_family=shares_family) for q in found])
        return
    columns = ("Control family", "AUC, 95 % interval", "Concordance", "n", "Status")
    marks = {"qualified": green("qualified"), "not_qualified": red("not qualified")}
    for qualification in found:
        rows = []
        for family in qualification.families:
            auc, paired = (write_estimate(e, unit="") for e in (family.auc, family.concordance))
            status = marks.get(family.status, family.status)
            rows.append((f"{family.family} ({family.kind})", auc.effect, paired.effect, auc.rows, status))
        title = f"{qualification.criterion}: {qualification.status.replace('_', ' ')}"
        table(title, columns, rows)
        stdout().print(f"  {qualification.reason}", style="dim", soft_wrap=True)
        besides = {
            "same score twice": qualification.repeatability,
            "score and length": qualification.length_sensitivity,
            "same verdict in both orders": qualification.position_consistency,
            "verdicts for the first position": qualification.first_position,
        }
        said = [f"{name} {write_estimate(e, unit='').effect}" for name, e in besides.items() if e is not None]
        stdout().print(f"  {'; '.join(said)}\n", style="dim", soft_wrap=True)
    if shares_family:
        say(warning(f"The judge is of the family {own} that it is to judge: its scores claim nothing."))
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
    from harness.settings import Settings
    from harness.store.artifacts import to_json
    from harness.store.database import open_database
    from harness.studies.studies import find_study
    from harness.studies.validation import validate_judge
    from pipelines.cli.judge_validation import show
    from pipelines.cli.session import open_session

    engine = open_database(Settings.from_environment().database_url)
    found = validate_judge(open_session(), engine, find_study(engine, study), scores)
    if json:
        emit(to_json(found))
        return
    show(found)


@app.command("steps")
def steps(
    criterion: Annotated[Path, typer.Argument(help="A criterion's YAML: name, definition, scale.", metavar="FILE")],
    model: Annotated[
        str, typer.Option(help="Who writes: `embedded`, a hub id, a folder, or http://host/v1#model.")
    ] = "embedded",
    revision: Annotated[str | None, typer.Option(help="Commit of a hub id.")] = None,
    budget_usd: BudgetOption = None,
    dry_run: DryRunOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace steps that are there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write the evaluation steps of a new criterion by a model, into its file, for you to review."""
    from harness.experiment.judges.criterion_steps import plan_steps, write_steps
    from pipelines.cli.session import open_session
    from pipelines.cli.spending import say_spent, show_plan

    session = open_session(budget_usd=budget_usd)
    if dry_run:
        show_plan(plan_steps(session, criterion, model=model, revision=revision), json=json)
        return
    drafted = write_steps(session, criterion, model=model, revision=revision, force=force)
    say_spent(session)
    if json:
        emit({"criterion": drafted.name, "steps": list(drafted.steps), "file": str(criterion)})
        return
    for number, step in enumerate(drafted.steps, start=1):
        stdout().print(f"{number}. {step}", soft_wrap=True, markup=False)
    say(f"Written to {criterion}: read them and correct them before a judge uses them.")


@app.command("matrix")
def matrix(
    judges: Annotated[list[Path], typer.Argument(help="Two or more judges' folders.", metavar="JUDGE...")],
    generations: GenerationsOption,
    against: Annotated[
        Path | None, typer.Option(help="Another JSONL of replies to the same prompts, for verdicts.")
    ] = None,
    corpus: CorpusOption = "sample",
    data: DataOption = None,
    budget_usd: BudgetOption = None,
    preferred_by: Annotated[
        list[str] | None,
        typer.Option(help="The judge that made the preferences: its folder or its family; may be repeated."),
    ] = None,
    seed: SeedOption = 7,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """How far do judges agree with each other over the same replies, and with their verdicts on two files?"""
    from harness.experiment.judges.cross_judging import agreement_json, cross_judges
    from harness.reporting.numbers import write_estimate
    from pipelines.cli.session import open_session
    from pipelines.cli.spending import say_spent

    session = open_session(force=force, budget_usd=budget_usd)
    found = cross_judges(
        session,
        judges,
        generations=generations,
        against=against,
        corpus=corpus,
        data=data,
        preferred_by=preferred_by or [],
        seed=seed,
    )
    say_spent(session)
    if json:
        emit({"agreements": [agreement_json(a) for a in found.agreements], "warnings": list(found.warnings)})
        return
    rows = []
    for a in found.agreements:
        ranks, verdicts = (None if e is None else write_estimate(e, unit="") for e in (a.rank_correlation, a.verdicts))
        rows.append(
            (
                a.criterion,
                f"{a.first} × {a.second}",
                f"{ranks.effect} over {a.over}" if ranks else "not defined",
                verdicts.effect if verdicts else "one file only",
                "yes" if a.share_family else "no",
            )
        )
    columns = ("Criterion", "Judges", "Rank correlation, 95 % interval", "Same verdict", "One family")
    table("", columns, rows)
    for sentence in found.warnings:
        say(warning(sentence))


def _compare(
    session: Session, judge: Path, first: Path, second: Path, *, corpus: str, data: Path | None, seed: int, json: bool
) -> None:
    from harness.experiment.judges.judge_files import compare_files, compared_json
    from harness.reporting.numbers import write_estimate
    from pipelines.cli.spending import say_spent

    found = compare_files(session, judge, generations=first, against=second, corpus=corpus, data=data, seed=seed)
    say_spent(session)
    if json:
        estimates = [compared_json(e) for e in found.estimates]
        missing = dict(found.missing)
        emit({"run_id": found.stage.run_id, "judge_id": found.judge_id, "estimates": estimates, "missing": missing})
        return
    names = {
        "win_share": "win share of --generations",
        "decisive": "share of decisive verdicts",
        "ties": "ties",
        "strength": "strength, log-odds",
        "position_consistency": "same verdict in both orders",
        "first_position": "decisive verdicts for the first position",
        "length_correlation": "win share and length, rank correlation",
    }
    for e in found.estimates:
        shown = {label: getattr(e, key) for key, label in names.items()}
        written = {label: write_estimate(value, unit="") for label, value in shown.items() if value is not None}
        table(e.criterion, ("", "95 % interval", "n"), [(label, w.effect, w.basis) for label, w in written.items()])
        if e.strength_note:
            say(f"  no strength: {e.strength_note}")
    if found.missing:
        said = ", ".join(f"{n} {status}" for status, n in sorted(found.missing.items()))
        say(warning(f"verdicts missing: {said}"))
