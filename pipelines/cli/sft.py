"""`screentest sft`, and every method that reads windows: a recipe and a corpus into a registered adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.terminal import bold, say
from pipelines.cli.options import CorpusOption, DryRunOption, ForceOption, LimitOption
from pipelines.cli.presenter import Result, presented


@presented
def sft(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. experiments/recipes/sft/embedded.yaml.")],
    corpus: CorpusOption = "sample",
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.", min=0)] = None,
    split_seed: Annotated[int, typer.Option(help="Seed of the split by cluster.", min=0)] = 7,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
) -> Result:
    """Fine-tune a base on a corpus and register the adapter as `<recipe>@candidate`.

    Killed at any moment, the same command goes on from the last checkpoint.
    """
    from harness.config import load_yaml
    from harness.experiment.published import published_adapter
    from pipelines.cli.outcome import training
    from pipelines.cli.session import checks, open_session
    from pipelines.corpus.prepare import PrepareConfig, prepare_stage
    from pipelines.preflight import look_at_training
    from pipelines.stages import training_record
    from pipelines.training.methods import METHODS
    from pipelines.training.stages import training_stage
    from pipelines.training.training_audit import adapter_audit

    method = str(context.info_name)
    chosen: Any = load_yaml(recipe, METHODS[method].runner.RECIPE)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    session = open_session(force=force)
    config = PrepareConfig(
        corpus=corpus,
        base=chosen.base.source,
        base_revision=chosen.base.revision,
        max_tokens=chosen.data.pack_tokens,
        seed=split_seed,
        limit=limit,
    )
    prepared = prepare_stage(session, config)
    if dry_run:
        return checks(look_at_training(session, method, chosen, prepared=prepared))
    trained = training_stage(session, method, chosen, prepared=prepared, adopt=True)
    adapter = published_adapter(session, trained)
    record = training_record(trained.folder)
    audit = adapter_audit(session.tracking, [adapter], prepared=prepared)
    say(
        f"{bold(f'{adapter.name}/{adapter.version}')}: validation loss {record['validation_loss_before']:.3f} → "
        f"{record['validation_loss']:.3f} nats per token (on validation, no interval: not a result)\n"
        f"next: screentest compare base {adapter.name}/{adapter.version} --corpus {corpus}"
    )
    return training(trained, adapter, record, audit)
