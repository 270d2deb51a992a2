"""`screentest judge`: scoring replies, and finding out whether a judge may be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.errors import InputError
from harness.terminal import bold, say
from pipelines.cli import options
from pipelines.cli.presenter import Result, Verbs
from pipelines.cli.session import checks, open_session, open_store, say_spent

app = Verbs("Run and qualify judges.")

JudgeArgument = Annotated[
    Path, typer.Argument(help="A judge's folder, e.g. experiments/judges/embedded-likelihood.", metavar="JUDGE")
]

GenerationsOption = Annotated[
    Path, typer.Option(help="JSONL of replies: prompt_id, text; `screentest generate --out` writes it.")
]
DataOption = Annotated[Path | None, typer.Option(help="Instead of a corpus: the JSONL of test prompts.")]


@app.verb("run")
def run(
    judge: JudgeArgument,
    generations: GenerationsOption,
    against: Annotated[
        Path | None, typer.Option(help="For a pairwise judge: the JSONL to compare with, reply by reply.")
    ] = None,
    corpus: options.Corpus = "sample",
    data: DataOption = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 7,
    force: options.Force = False,
) -> Result:
    """Score replies on every criterion of a judge, or compare two files of them.

    A reply that cannot be scored is missing, with its reason.
    """
    from harness.experiment.judges.judge_files import Files, check_files, compare_files, score_file
    from harness.judging.spec import load_judge_spec
    from pipelines.cli import judge_results

    is_pairwise = load_judge_spec(judge).declared.compares
    if is_pairwise != (against is not None):
        raise InputError(
            f"`--against` must be given exactly for a pairwise judge; {judge.name} {'is' if is_pairwise else 'is not'} "
            "one"
        )
    session = open_session(force=force, budget_usd=budget_usd)
    files = Files(generations=generations, against=against, corpus=corpus, data=data, seed=seed)
    if dry_run:
        return checks(check_files(session, [judge], files))
    if against is not None:
        found = judge_results.comparison(compare_files(session, judge, files))
    else:
        found = judge_results.scores(score_file(session, judge, files))
    say_spent(session)
    return found


@app.verb("qualify")
def qualify(
    judge: JudgeArgument,
    corpus: options.Corpus = "sample",
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
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 7,
    force: options.Force = False,
) -> Result:
    """Can this judge tell true replies from planted faults? Qualified, not qualified or inconclusive, per criterion."""
    from harness.experiment.judges.judge_files import check_qualification, qualify_judge
    from harness.judging.qualification import is_self_judging
    from harness.judging.spec import load_judge_spec
    from pipelines.cli.judge_results import qualifications

    session = open_session(force=force, budget_usd=budget_usd)
    where: dict[str, Any] = {"corpus": corpus, "n": n_controls, "seed": seed, "own_controls": controls}
    if dry_run:
        return checks(check_qualification(session, judge, **where))
    found = qualify_judge(session, judge, **where)
    say_spent(session)
    own = load_judge_spec(judge).family
    return qualifications(found, shares_family=is_self_judging(own, judged_family) if judged_family else None)


@app.verb("validate")
def validate(
    study: Annotated[str, typer.Argument(help="A study whose raters marked or compared the same replies.")],
    scores: Annotated[
        list[str],
        typer.Option(
            help="Run with a judge's scores, or an evaluation; `sft=RUN` where it scored one file of replies."
        ),
    ],
) -> Result:
    """Does the judge agree with people? Agreement, stand-in test, bias, and contrasts corrected by people's ratings."""
    from harness.studies.studies import find_study
    from harness.studies.validation import validate_judge
    from pipelines.cli.judge_results import validation

    engine = open_store()
    return validation(validate_judge(open_session(), engine, find_study(engine, study), scores))


@app.verb("import")
def import_scores(
    file: Annotated[
        Path,
        typer.Argument(
            help="Rows with item, criterion and value, or with a list of samples as value; JSON, JSONL, CSV."
        ),
    ],
    judge: Annotated[str, typer.Option(help="The judge's id; of a file with several, which of them.")],
    criterion: Annotated[str | None, typer.Option(help="Of rows that name none.")] = None,
    scale: Annotated[str | None, typer.Option(help="Lowest and highest score, as 1-5; samples need it.")] = None,
    form: Annotated[
        Literal["score", "explain", "rate-explain"],
        typer.Option(help="A sample is only the score, or its last line is (explain), or its first (rate-explain)."),
    ] = "score",
    study: Annotated[
        str | None, typer.Option(help="Imported ratings of the same items; words are coded as there.")
    ] = None,
    force: options.Force = False,
) -> Result:
    """Store a judge's scores or samples that were made elsewhere; `judge validate STUDY --scores RUN` reads them."""
    from harness.studies.imported import read_scale
    from harness.studies.imported_judge import import_judge
    from harness.studies.studies import find_study

    known = None if study is None else find_study(open_store(), study)
    found = import_judge(
        open_session(force=force),
        file,
        judge=judge,
        criterion=criterion,
        scale=None if scale is None else read_scale(scale),
        form=form,
        study=known,
    )
    n_missing = sum(score.value is None for score in found.scores)
    say(f"{len(found.scores):,} scores of {bold(judge)}, {n_missing:,} missing: run {found.stage.run_id}")
    if found.n_samples:
        say(f"{found.n_unread:,} of {found.n_samples:,} samples are no score: they are missing, not 0")
    if found.n_unknown:
        say(f"{found.n_unknown:,} scores are of items that {study} does not hold: left out")
    return Result(
        data={"run_id": found.stage.run_id, "reused": found.stage.reused, "judge_id": judge, "rows": len(found.scores),
              "missing": n_missing, "samples": found.n_samples, "unread": found.n_unread, "unknown": found.n_unknown},
    )  # fmt: skip


@app.verb("steps")
def steps(
    criterion: Annotated[Path, typer.Argument(help="A criterion's YAML: name, definition, scale.", metavar="FILE")],
    model: Annotated[
        str, typer.Option(help="Who writes: `embedded`, a hub id, a folder, or http://host/v1#model.")
    ] = "embedded",
    revision: options.Revision = None,
    task: Annotated[str, typer.Option(help="What the judge will read: dialogue, chat, exact, summary, …")] = "dialogue",
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Replace steps that are there.")] = False,
) -> Result:
    """Write the evaluation steps of a new criterion by a model, into its file, for you to review."""
    from harness.experiment.judges.criterion_steps import plan_steps, write_steps
    from harness.experiment.planning.preflight_table import Preflight

    session = open_session(budget_usd=budget_usd)
    if dry_run:
        planned = plan_steps(session, criterion, model=model, revision=revision, task=task)
        return checks(Preflight(planned=planned))
    drafted = write_steps(session, criterion, model=model, revision=revision, force=force, task=task)
    say_spent(session)
    return Result(
        data={"criterion": drafted.name, "steps": drafted.steps, "file": str(criterion)},
        shown=[f"{number}. {step}" for number, step in enumerate(drafted.steps, start=1)],
        notes=(f"Written to {criterion}: read them and correct them before a judge uses them.",),
    )


@app.verb("matrix")
def matrix(
    judges: Annotated[list[Path], typer.Argument(help="Two or more judges' folders.", metavar="JUDGE...")],
    generations: GenerationsOption,
    against: Annotated[
        Path | None, typer.Option(help="Another JSONL of replies to the same prompts, for verdicts.")
    ] = None,
    corpus: options.Corpus = "sample",
    data: DataOption = None,
    budget_usd: options.Budget = None,
    preferred_by: Annotated[
        list[str] | None,
        typer.Option(help="The judge that made the preferences: its folder or its family; may be repeated."),
    ] = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 7,
    force: options.Force = False,
) -> Result:
    """How far do judges agree with each other over the same replies, and with their verdicts on two files?"""
    from harness.experiment.judges.cross_judging import cross_judges, require_cross
    from harness.experiment.judges.judge_files import Files, check_files
    from harness.judging.spec import load_judge_spec
    from pipelines.cli.judge_results import agreement

    require_cross([load_judge_spec(folder) for folder in judges], against=against)
    session = open_session(force=force, budget_usd=budget_usd)
    files = Files(generations=generations, against=against, corpus=corpus, data=data, seed=seed)
    if dry_run:
        return checks(check_files(session, judges, files))
    found = cross_judges(session, judges, files, preferred_by=preferred_by or [])
    say_spent(session)
    return agreement(found)
