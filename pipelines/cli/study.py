"""`screentest study`: people rate replies blind; from a file to links, and from ratings to a sentence with interval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.errors import ConfigError
from harness.settings import Settings
from harness.terminal import bold, dim, say
from pipelines.cli import options
from pipelines.cli.presenter import Result, Verbs
from pipelines.cli.session import checks, open_session, open_store

if TYPE_CHECKING:
    from harness.experiment.planning.preflight_table import Preflight
    from harness.studies.links import Link
    from harness.studies.studies import NewStudy

app = Verbs("Blind ratings by people: studies, links, results, exports.")

StudyArgument = Annotated[str, typer.Argument(help="Name of the study.", metavar="STUDY")]
UrlOption = Annotated[str, typer.Option(help="Where the rating page runs; links begin with it.")]
HERE = "http://localhost:8501"
SECONDS_A_SCREEN = 20


@app.verb("create")
def create(
    file: Annotated[Path, typer.Argument(help="A study, e.g. experiments/studies/which_is_better.yaml.")],
    name: Annotated[str | None, typer.Option(help="Instead of the file's name: one study a name.")] = None,
    url: UrlOption = HERE,
    dry_run: options.DryRun = False,
) -> Result:
    """Draw the prompts, plant the checks, fix order and sides, and print one link a rater: now or never."""
    from harness.studies.create import draw_study
    from harness.studies.studies import create_study

    drawn = draw_study(open_session(), file, name=name)
    if dry_run:
        return checks(_checked(drawn))
    made = create_study(open_store(), drawn)
    study = made.study
    say(f"{bold(study.name)}: {study.plan}")
    data = {"study": study.name, "declaration": study.declaration, "plan": study.plan}
    if made.opened is not None and study.design.crowd is not None:
        from harness.studies.people import foretell

        say(foretell(study.design.crowd, n_checks=study.design.attention))
        say(dim("One link for everybody, shown once; on Prolific append PROLIFIC_PID, STUDY_ID and SESSION_ID."))
        return Result(data={**data, "open_link": made.opened.url(url)}, shown=[made.opened.url(url)])
    say(dim("Links are shown once; `screentest study link` makes a new one for a rater."))
    links = [_link(link, url) for link in made.links]
    return Result(data={**data, "links": links}, shown=[_line(link) for link in links])


@app.verb("add")
def add(
    file: Annotated[Path, typer.Argument(help="The file that declared the study, unchanged.")],
    prompts: Annotated[int, typer.Option(help="How many more.", min=1)],
    name: Annotated[str | None, typer.Option(help="The study's name, where it is not the file's.")] = None,
) -> Result:
    """More prompts for an open study, behind what raters have still to do; the study says that they were added."""
    from harness.studies.create import add_prompts

    study = add_prompts(open_session(), open_store(), file, prompts, name=name)
    say(f"{bold(study.name)}: {study.plan}")
    return Result(data={"study": study.name, "plan": study.plan})


def _checked(study: NewStudy) -> Preflight:
    """What a study would ask of people."""
    from harness.experiment.planning.preflight_table import Preflight
    from harness.studies.studies import require_free

    found, panel = Preflight(), study.design.panel
    found.ask("name", lambda: require_free(open_store(), study.design.name), words=str)
    found.say("prompts", f"{study.plan} Drawn from {study.n_population:,} with replies of every variant")
    if (crowd := study.design.crowd) is not None:
        from harness.studies.people import foretell

        told = foretell(crowd, n_checks=study.design.attention)
        found.say("people", f"{crowd.people} people, {crowd.items} items each. {told}")
        return found
    n = len(study.items) * panel.per_prompt
    found.say("people", f"{panel.raters} raters, {n:,} screens in all, about {n * SECONDS_A_SCREEN / 60:.0f} minutes")
    return found


@app.verb("status")
def status(
    study: Annotated[str | None, typer.Argument(help="One study with its figures; all of them when left out.")] = None,
) -> Result:
    """How far a study is and what it says so far: win rates valid at any look, agreement, raters, what is missing."""
    from pipelines.cli.study_status import studies_of, study_of

    return studies_of(open_store()) if study is None else study_of(open_store(), study)


@app.verb("close")
def close(study: StudyArgument) -> Result:
    """Take no more ratings, for good. Then raters may browse, and the ratings may go to MLflow."""
    from harness.studies.studies import close_study

    closed = close_study(open_store(), study)
    say(f"{bold(closed.name)} is closed")
    return Result(data={"study": closed.name, "closed_at": closed.closed_at})


@app.verb("export")
def export(
    study: StudyArgument,
    format: Annotated[
        Literal["votes", "ratings", "preferences", "publication", "people", "mlflow"],
        typer.Option(
            help="votes (left,right,winner CSV), ratings (JSONL), preferences (TRL JSONL), publication (a folder: "
            "methods and results, ratings without names, declaration), people (CSV of a crowd, to pay them), mlflow."
        ),
    ] = "ratings",
    out: Annotated[Path | None, typer.Option(help="File (publication: folder) to write; mlflow needs none.")] = None,
) -> Result:
    """Ratings as a file or as MLflow feedback. Those of TRAIN prompts leave as preference pairs and as nothing else."""
    from harness.studies.exports import export as write
    from harness.studies.feedback import ratings_stage
    from harness.studies.studies import find_study

    engine = open_store()
    found = find_study(engine, study)
    if format == "mlflow":
        result = ratings_stage(open_session(), engine, found)
        say(f"ratings of {bold(study)} are in run {result.run_id}, as feedback on its experiment's traces")
        return Result(data={"study": study, "run_id": result.run_id, "reused": result.reused})
    if out is None:
        raise ConfigError(f"`--out` must name the file to write for --format {format}")
    if format == "publication":
        from harness.reporting.publication import publish

        n = publish(engine, found, out)
    elif format == "people":
        from harness.studies.people import write_people

        n = write_people(engine, found, out)
    else:
        n = write(engine, found, format, out)
    say(f"{n} rows written to {bold(out)}")
    return Result(data={"study": study, "format": format, "file": str(out), "rows": n})


@app.verb("link")
def link(
    study: StudyArgument,
    rater: Annotated[str, typer.Argument(help="A rater of the study; with --rehearsal a new name.")],
    rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="A link to try the study with: its ratings never enter a result.")
    ] = False,
    url: UrlOption = HERE,
) -> Result:
    """A new link for a rater (the old one stops working), or one to rehearse with."""
    from harness.studies.studies import add_rehearsal, find_study, renew_link

    engine = open_store()
    found = find_study(engine, study)
    made = _link(add_rehearsal(engine, found, rater) if rehearsal else renew_link(engine, found, rater), url)
    return Result(data={"study": study, **made}, shown=(_line(made),))


@app.verb("revoke")
def revoke(study: StudyArgument, rater: Annotated[str, typer.Argument(help="A rater of the study.")]) -> Result:
    """Withdraw a rater's link. Their ratings stay; nobody waits for the rest of them."""
    from harness.studies.studies import find_study, revoke_link

    engine = open_store()
    revoke_link(engine, find_study(engine, study), rater)
    say(f"the link of {bold(rater)} no longer works")
    return Result(data={"study": study, "rater": rater})


@app.verb("backup")
def backup(file: Annotated[Path, typer.Argument(help="New file for the copy.")]) -> Result:
    """Copy the store to a file while raters go on: SQLite page by page, PostgreSQL by `pg_dump`; checked either way."""
    from harness.studies.backup import back_up

    made = back_up(Settings.from_environment().database_url, file)
    say(f"{made.n_bytes:,} bytes written to {bold(file)}; {made.restored_by}")
    return Result(data={"file": str(file), "bytes": made.n_bytes})


def _link(link: Link, url: str) -> dict[str, Any]:
    return {"rater": link.rater, "url": link.url(url), "rehearsal": link.is_rehearsal}


def _line(link: dict[str, Any]) -> str:
    return f"{link['rater']}  {link['url']}{'  (rehearsal)' if link['rehearsal'] else ''}"
