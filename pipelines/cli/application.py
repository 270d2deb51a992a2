"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.errors import InputError
from pipelines.cli import (
    adapters,
    compare,
    data,
    doctor,
    experiments,
    generate,
    imports,
    judge,
    pairs,
    paper,
    plan,
    power,
    quickstart,
    rate,
    ratings,
    report,
    scores,
    serve,
    study,
    train,
)
from pipelines.training.methods import METHODS

app = typer.Typer(
    name="screentest",
    help="""Did fine-tuning this small language model help, by how much, and how sure are we?

    Begin with `screentest quickstart`: it trains an adapter on film dialogue, compares it with its base on held-out
    films and writes a report, in minutes and without GPU or key.

    Have an adapter already? `screentest compare base ./adapter --data test.jsonl`
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # its tracebacks print local variables, and with them keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"screentest {version('screentest')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    from pipelines.training.processes import launched

    processes = launched()
    trainings = [name for name, method in METHODS.items() if not method.is_control]
    if processes.n > 1 and context.invoked_subcommand not in trainings:
        if not processes.is_first:
            raise typer.Exit
        raise InputError(
            f"`accelerate launch` must start {' or '.join(f'`screentest {name}`' for name in trainings)}, which train "
            f"with several processes, got `{context.invoked_subcommand}` in {processes.n}: start it alone"
        )
    if not processes.is_first:
        from pipelines.training.followers import follow

        follow()
        raise typer.Exit


app.command("quickstart", rich_help_panel="Start here")(quickstart.quickstart)
app.command("compare", rich_help_panel="Start here")(compare.compare)
app.add_typer(imports.app, name="import", rich_help_panel="Start here")
app.command("doctor", rich_help_panel="Start here")(doctor.doctor)
app.add_typer(data.app, name="data", rich_help_panel="Data and training")
app.command("prepare", rich_help_panel="Data and training")(data.prepare)
for name, method in METHODS.items():
    if not method.is_control:
        verb = train.on_windows if method.reads == "windows" else train.on_pairs
        app.command(name, rich_help_panel="Data and training")(verb)
app.add_typer(pairs.app, name="pairs", rich_help_panel="Data and training")
app.add_typer(adapters.app, name="adapters", rich_help_panel="Data and training")
app.command("generate", rich_help_panel="Evaluation")(generate.generate)
app.add_typer(judge.app, name="judge", rich_help_panel="Evaluation")
app.command("ablate", rich_help_panel="Evaluation")(experiments.ablate)
app.command("paper", rich_help_panel="Evaluation")(paper.paper)
app.command("evaluate", rich_help_panel="Evaluation")(experiments.evaluate)
app.add_typer(scores.app, name="scores", rich_help_panel="Evaluation")
app.add_typer(power.app, name="power", rich_help_panel="Evaluation")
app.command("plan", rich_help_panel="Evaluation")(plan.plan)
app.command("rate", rich_help_panel="Evaluation")(rate.rate)
app.add_typer(ratings.app, name="ratings", rich_help_panel="Evaluation")
app.add_typer(study.app, name="study", rich_help_panel="Evaluation")
app.command("serve", rich_help_panel="Serving")(serve.serve)
app.command("report", rich_help_panel="Reading results")(report.report)
app.command("trace", rich_help_panel="Reading results")(report.trace)
