"""`screentest evaluate`: an experiment file into a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.console import (
    BudgetOption,
    DryRunOption,
    EndpointsOption,
    ForceOption,
    JsonOption,
    LimitOption,
    use_endpoints,
)


def evaluate(
    file: Annotated[Path, typer.Argument(help="An experiment, e.g. experiments/inference_comparison.yaml.")],
    profile: Annotated[str | None, typer.Option(help="A profile of the file, e.g. `quick` or `full`.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Instead of the file's corpus.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's seed.", min=0)] = None,
    endpoint: EndpointsOption = None,
    limit: LimitOption = None,
    budget_usd: BudgetOption = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Generate, judge and estimate: every variant of an experiment on the same held-out prompts.

    What is compared, which contrasts count and how large a difference matters stand in the file, before the run.
    """
    from harness.experiment.evaluate import load_design, run
    from harness.experiment.judges.costing import plan_design
    from pipelines.cli.outcome import show
    from pipelines.cli.session import open_command, open_session
    from pipelines.cli.spending import say_spent, show_plan

    use_endpoints(endpoint)
    design = load_design(file, profile=profile, corpus=corpus, seed=seed)
    folder = file.resolve().parent
    if dry_run:
        session = open_session(force=force, budget_usd=budget_usd)
        show_plan(plan_design(session, design, folder=folder, limit=limit), json=json)
        return
    with open_command("evaluate", force=force, budget_usd=budget_usd) as session:
        evaluated = run(session, design, folder=folder, limit=limit)
    say_spent(session)
    show(session, evaluated, json=json)
