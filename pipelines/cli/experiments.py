"""`screentest evaluate` and `screentest ablate`: an experiment's file into a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.store.tracking import Tracking
from harness.terminal import say, stderr
from pipelines.cli import options
from pipelines.cli.outcome import ablation, evaluation
from pipelines.cli.presenter import Result, presented
from pipelines.cli.session import checks, open_command, open_session


@presented
def evaluate(
    file: Annotated[Path, typer.Argument(help="An experiment, e.g. experiments/inference_comparison.yaml.")],
    profile: options.Profile = None,
    corpus: options.OtherCorpus = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's seed.", min=0)] = None,
    endpoint: options.Endpoints = None,
    task: options.Task = None,
    limit: options.Limit = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Generate, judge and estimate: every variant of an experiment on the same held-out prompts.

    What is compared, which contrasts count and how large a difference matters stand in the file, before the run.
    """
    from harness.experiment.design import EvaluationDesign
    from harness.experiment.evaluate import load_design, preflight, run

    options.use_endpoints(endpoint)
    design = load_design(file, EvaluationDesign, profile=profile, corpus=corpus, seed=seed, task=task)
    folder = file.resolve().parent
    if dry_run:
        session = open_session(force=force, budget_usd=budget_usd)
        return checks(preflight(session, design, folder=folder, limit=limit))
    with open_command("evaluate", force=force, budget_usd=budget_usd) as session:
        evaluated = run(session, design, folder=folder, limit=limit)
    return evaluation(session, evaluated)


@presented
def ablate(
    file: Annotated[Path, typer.Argument(help="An ablation, e.g. experiments/ablations/neftune.yaml.")],
    profile: options.Profile = None,
    executor: Annotated[Literal["local", "ray"], typer.Option(help="Processes here, or a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(help="Stages at once.", min=1, max=256)] = 2,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to use, e.g. `auto`; without it, one is started here.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that a stage takes on Ray.", min=0)] = None,
    corpus: options.OtherCorpus = None,
    seed: Annotated[list[int] | None, typer.Option(help="Instead of the file's seeds; may be given again.")] = None,
    endpoint: options.Endpoints = None,
    task: options.Task = None,
    limit: options.Limit = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Train and compare the arms of an ablation over several seeds, and write its report.

    What two arms share is done once. Killed at any moment, the same command goes on from there; an arm that fails twice
    is reported as missing and the rest is analysed.
    """
    from harness.experiment.ablate import Executor, preflight, run
    from harness.experiment.arms import AblationDesign
    from harness.experiment.evaluate import load_design

    options.use_endpoints(endpoint)
    design = load_design(file, AblationDesign, profile=profile, corpus=corpus, seeds=seed or None, task=task)
    if dry_run:
        return checks(preflight(Tracking(), design, file=file, limit=limit, is_forced=force, budget_usd=budget_usd))
    ablated = run(
        Tracking(),
        design,
        file=file,
        profile=profile,
        executor=Executor(name=executor, n_workers=workers, address=address, gpus=gpus),
        console=stderr(),
        say=say,
        limit=limit,
        is_forced=force,
        budget_usd=budget_usd,
    )
    return ablation(ablated)
