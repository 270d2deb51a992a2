"""`screentest sft`, `screentest dpo` and every other method: a recipe and its data into a registered adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.terminal import bold, say
from pipelines.cli import options
from pipelines.cli.outcome import audit_table
from pipelines.cli.presenter import Result, presented
from pipelines.cli.session import checks, open_session

RecipeSeedOption = Annotated[int | None, typer.Option(help="Instead of the recipe's seed.", min=0)]


@presented
def on_windows(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. experiments/recipes/sft/embedded.yaml.")],
    corpus: options.Corpus = "sample",
    seed: RecipeSeedOption = None,
    split_seed: Annotated[int, typer.Option(help="Seed of the split by cluster.", min=0)] = 7,
    limit: options.Limit = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Fine-tune a base on a corpus and register the adapter as `<recipe>@candidate`.

    Killed at any moment, the same command goes on from the last checkpoint.
    """
    asked: dict[str, Any] = {"corpus": corpus, "seed": seed, "split_seed": split_seed, "limit": limit}
    return _trained(str(context.info_name), recipe, asked, dry_run=dry_run, force=force)


@presented
def on_pairs(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. experiments/recipes/dpo/embedded.yaml.")],
    corpus: options.Corpus = "sample",
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
    seed: RecipeSeedOption = None,
    split_seed: options.SplitSeed = 7,
    limit: options.Limit = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """Train an SFT adapter on preferences and register it as `<recipe>@candidate`, the SFT adapter as its parent.

    Killed at any moment, the same command goes on from the last checkpoint.
    """
    asked: dict[str, Any] = {"corpus": corpus, "seed": seed, "split_seed": split_seed, "limit": limit}
    asked |= {"pairs": pairs, "parent": parent, "is_control": control}
    return _trained(str(context.info_name), recipe, asked, dry_run=dry_run, force=force)


def _trained(method: str, recipe: Path, asked: dict[str, Any], *, dry_run: bool, force: bool) -> Result:
    from pipelines.recipes import look_at_training, read_training, train
    from pipelines.stages import training_record
    from pipelines.training.training_audit import adapter_audit

    session = open_session(force=force)
    wanted = read_training(session, recipe, method=method, **asked)
    if dry_run:
        return checks(look_at_training(session, wanted))
    done = train(session, wanted)
    adapter, record = done.adapter, training_record(done.stage.folder)
    audit = adapter_audit(session.tracking, [adapter], prepared=wanted.prepared)
    parent, named = wanted.parent, f"{adapter.name}/{adapter.version}"
    start = "base" if parent is None else f"{parent.name}/{parent.version}"
    said = _learned(record, on_pairs=parent is not None)
    say(f"{bold(named)}: {said}\nnext: screentest compare {start} {named} --corpus {asked['corpus']}")
    of_pairs = {} if done.pairs is None else {"parent": adapter.parent, "pairs_run_id": done.pairs.run_id}
    return Result(
        data={
            "run_id": done.stage.run_id,
            "reused": done.stage.reused,
            "adapter": named,
            "digest": adapter.digest,
            **of_pairs,
            "training": {key: value for key, value in record.items() if key != "curves"},
            "audit": [{"check": r.label, "passed": r.is_passed, "detail": r.detail} for r in audit],
        },
        shown=(audit_table(audit),),
    )


def _learned(record: dict[str, Any], *, on_pairs: bool) -> str:
    """What a training says of itself, which is no result."""
    if not on_pairs:
        return (
            f"validation loss {record['validation_loss_before']:.3f} → {record['validation_loss']:.3f} nats per token "
            "(on validation, no interval: not a result)"
        )
    heldout = record["heldout"]
    return (
        f"reward margin {heldout['reward_margin']:.3f}, accuracy {heldout['reward_accuracy']:.0%}, KL "
        f"{heldout['kl']:.3f} nats a token on {record['n_validation_pairs']} held-out pairs (no interval: not a result)"
    )
