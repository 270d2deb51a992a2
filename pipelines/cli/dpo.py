"""`screentest dpo`, and every method that reads pairs: a recipe and pairs into an adapter on an SFT adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.terminal import bold, say
from pipelines.cli.options import CorpusOption, DryRunOption, ForceOption, LimitOption, SplitSeedOption
from pipelines.cli.presenter import Result, presented


@presented
def dpo(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. experiments/recipes/dpo/embedded.yaml.")],
    corpus: CorpusOption = "sample",
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Run id of `pairs build` or `pairs import`, or a JSONL file of preferences. "
            "Left out: the human reply against a sample of the parent."
        ),
    ] = None,
    parent: Annotated[str | None, typer.Option(help="Instead of the recipe's parent: an SFT adapter.")] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Further SFT on the chosen replies instead: same pairs, order and steps.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.", min=0)] = None,
    split_seed: SplitSeedOption = 7,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
) -> Result:
    """Train an SFT adapter on preferences and register it as `<recipe>@candidate`, the SFT adapter as its parent.

    Killed at any moment, the same command goes on from the last checkpoint.
    """
    from harness.config import load_yaml
    from harness.errors import InputError
    from harness.experiment.published import published_adapter
    from pipelines.cli.outcome import training
    from pipelines.cli.session import checks, open_session
    from pipelines.preferences.stages import named_pairs, parent_of, prepared_for
    from pipelines.preflight import look_at_training
    from pipelines.quickstart import quick_pairs
    from pipelines.stages import training_record
    from pipelines.training.methods import METHODS
    from pipelines.training.stages import training_stage
    from pipelines.training.training_audit import adapter_audit

    method = str(context.info_name)
    trains = METHODS[method].control if control else method
    if trains is None:
        raise InputError(f"`--control` needs a method that has one, got `{method}`: leave it out")
    chosen: Any = load_yaml(recipe, METHODS[method].runner.RECIPE)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    session = open_session(force=force)
    start = parent_of(session, chosen, named=parent)
    prepared = prepared_for(session, start, corpus=corpus, seed=split_seed, limit=limit)
    if dry_run:
        default = quick_pairs(chosen)
        return checks(
            look_at_training(session, trains, chosen, prepared=prepared, parent=start, pairs=pairs, default=default)
        )
    rows = named_pairs(session, pairs, prepared=prepared, parent=start, default=quick_pairs(chosen))
    trained = training_stage(session, trains, chosen, prepared=prepared, parent=start, pairs=rows, adopt=True)
    adapter = published_adapter(session, trained)
    record = training_record(trained.folder)
    audit = adapter_audit(session.tracking, [adapter], prepared=prepared)
    heldout = record["heldout"]
    say(
        f"{bold(f'{adapter.name}/{adapter.version}')}: reward margin {heldout['reward_margin']:.3f}, accuracy "
        f"{heldout['reward_accuracy']:.0%}, KL {heldout['kl']:.3f} nats a token on {record['n_validation_pairs']} "
        f"held-out pairs (no interval: not a result)\n"
        f"next: screentest compare {start.name}/{start.version} {adapter.name}/{adapter.version} --corpus {corpus}"
    )
    return training(trained, adapter, record, audit, parent=adapter.parent, pairs_run_id=rows.run_id)
