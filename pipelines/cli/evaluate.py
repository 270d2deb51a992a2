"""`screentest evaluate`: an experiment file into a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    BudgetOption,
    DryRunOption,
    EndpointsOption,
    ForceOption,
    LimitOption,
    OtherCorpusOption,
    ProfileOption,
    TaskOption,
    use_endpoints,
)
from pipelines.cli.presenter import Result, presented


@presented
def evaluate(
    file: Annotated[Path, typer.Argument(help="An experiment, e.g. experiments/inference_comparison.yaml.")],
    profile: ProfileOption = None,
    corpus: OtherCorpusOption = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's seed.", min=0)] = None,
    endpoint: EndpointsOption = None,
    task: TaskOption = None,
    limit: LimitOption = None,
    budget_usd: BudgetOption = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
) -> Result:
    """Generate, judge and estimate: every variant of an experiment on the same held-out prompts.

    What is compared, which contrasts count and how large a difference matters stand in the file, before the run.
    """
    from harness.experiment.evaluate import load_design, preflight, run
    from pipelines.cli.outcome import evaluation
    from pipelines.cli.session import checks, open_command, open_session

    use_endpoints(endpoint)
    design = load_design(file, profile=profile, corpus=corpus, seed=seed, task=task)
    folder = file.resolve().parent
    if dry_run:
        session = open_session(force=force, budget_usd=budget_usd)
        return checks(preflight(session, design, folder=folder, limit=limit))
    with open_command("evaluate", force=force, budget_usd=budget_usd) as session:
        evaluated = run(session, design, folder=folder, limit=limit)
    return evaluation(session, evaluated)
