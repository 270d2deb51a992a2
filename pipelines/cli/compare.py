"""`screentest compare`: two variants, one question, a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import options
from pipelines.cli.outcome import GateOption, evaluation, gated
from pipelines.cli.presenter import Result, presented
from pipelines.cli.session import checks, open_command, open_session


@presented
def compare(
    control: Annotated[
        str,
        typer.Argument(
            help="The control: `base`, a hub id, a folder (PEFT adapter or checkpoint), `name@alias`, "
            "a .jsonl of generations, or http://host/v1#model.",
            metavar="A",
        ),
    ],
    treatment: Annotated[str, typer.Argument(help="What should be better; named in the same ways.", metavar="B")],
    data: Annotated[
        Path | None, typer.Option(help="JSONL of test prompts with human replies: `messages` or `prompt`/`completion`.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Or a corpus, whose TEST prompts are used.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base of adapter folders that name none, or whose base has moved.")
    ] = None,
    judge: Annotated[
        list[Path] | None, typer.Option(help="A judge's folder or name; may be given more than once.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="What to claim something on: a measure's name, or module:name of yours; more than once."),
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(help="Prompts to generate on; without it 60, or all that a .jsonl answers.", min=2)
    ] = None,
    min_effect: Annotated[
        float, typer.Option(help="Smallest difference in held-out loss that matters, bits per byte.", min=0.0001)
    ] = 0.02,
    task: options.Task = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Length cap of every reply; without it the task's: 64 for dialogue.", min=1)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; without it the task's: 0.8 where replies are open.", min=0)
    ] = None,
    keep_thinking: options.KeepThinking = False,
    gate: GateOption = False,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 7,
    force: options.Force = False,
) -> Result:
    """Is B better than A? Two variants, one question, a verdict with its interval, and a report.

    screentest compare base ./adapter --data test.jsonl

    Replies are compared with the references in the data: right answers, fields, labels, overlap, as the task asks.
    """
    from harness.experiment.compare import build_design
    from harness.experiment.evaluate import preflight, run
    from harness.experiment.sources import declared_measures

    design = build_design(
        control,
        treatment,
        data=data,
        corpus=corpus,
        base=base,
        judges=tuple(judge or ()),
        family=declared_measures(measure) if measure else None,
        n_prompts=prompts,
        min_effect=min_effect,
        task=task,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        keep_thinking=keep_thinking,
        seed=seed,
    )
    if dry_run:
        session = open_session(force=force, budget_usd=budget_usd)
        return checks(preflight(session, design, folder=Path.cwd()))
    with open_command("compare", force=force, budget_usd=budget_usd) as session:
        evaluated = run(session, design, folder=Path.cwd())
    found = evaluation(session, evaluated)
    return gated(found, evaluated.record, control=control, treatment=treatment) if gate else found
