"""`screentest quickstart`: the whole story in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import options
from pipelines.cli.outcome import evaluation
from pipelines.cli.presenter import Result, presented
from pipelines.cli.session import checks, open_command, open_session


@presented
def quickstart(
    corpus: options.Corpus = "sample",
    recipe: Annotated[Path | None, typer.Option(help="Another recipe than the embedded model's.")] = None,
    dpo_recipe: Annotated[
        Path | None, typer.Option(help="Another preference recipe than the embedded model's.")
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            help="Another experiment than the one that ships: its variant `sft` is the adapter trained here, "
            "`dpo` the one trained on preferences on top of it, `model: embedded` the recipe's base."
        ),
    ] = None,
    seed: options.Seed = 7,
    limit: options.Limit = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Train adapters, compare them with their base on held-out films, and write a report: minutes, no GPU, no key.

    prepare → fine-tune with NEFTune → preference pairs → DPO → register → generate → judge with controls → report.
    A second call reuses every stage.
    """
    from pipelines.quickstart import begin, look, run

    asked: dict[str, Any] = {
        "corpus": corpus, "recipe": recipe, "dpo_recipe": dpo_recipe, "experiment": experiment, "seed": seed,
        "limit": limit,
    }  # fmt: skip
    if dry_run:
        session = open_session(force=force, budget_usd=budget_usd)
        return checks(look(session, begin(session, **asked)))
    with open_command("quickstart", force=force, budget_usd=budget_usd) as session:
        return evaluation(session, run(session, begin(session, **asked)))
