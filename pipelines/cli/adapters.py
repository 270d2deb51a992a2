"""`screentest adapters`: what the registry holds, and moving adapters in and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.terminal import bold, say
from pipelines.cli.options import RevisionOption
from pipelines.cli.presenter import Result, Table, presented

if TYPE_CHECKING:
    from harness.registry import AdapterRecord

app = typer.Typer(
    help="List, import, promote and export registered adapters.", no_args_is_help=True, rich_markup_mode="markdown"
)

Reference = Annotated[str, typer.Argument(help="`name@alias` or `name/version`.", metavar="ADAPTER")]


@app.command("list")
@presented
def list_adapters(name: Annotated[str | None, typer.Argument(help="Only this registered model.")] = None) -> Result:
    """Every adapter of the registry, newest first."""
    from harness.registry import records
    from harness.store.tracking import Tracking

    found = records(Tracking(), name=name)
    columns = ("Adapter", "Aliases", "Base", "Validation loss", "Digest", "Made")
    empty = "The registry is empty: `screentest sft` or `screentest adapters import` put an adapter in."
    return Result(
        data={"adapters": found},
        shown=(Table(columns=columns, rows=[_row(record) for record in found]),),
        notes=() if found else (empty,),
    )


@app.command("import")
@presented
def import_adapter(
    folder: Annotated[Path, typer.Argument(help="A PEFT folder: adapter_config.json and adapter_model.safetensors.")],
    name: Annotated[str, typer.Option(help="Registered model to add a version to.")],
    base: Annotated[
        str | None,
        typer.Option(help="Base model, where the adapter names none or one that moved: embedded, hub id or folder."),
    ] = None,
    revision: RevisionOption = None,
) -> Result:
    """Register an adapter that was trained elsewhere; safetensors only, checked against its base."""
    from harness.models.attaching import require_fit
    from harness.models.bases import resolve_base
    from harness.registry import model_card, open_adapter, publish
    from harness.store.artifacts import to_json
    from harness.store.tracking import Tracking

    bound = None if base is None else resolve_base(base, revision=revision)
    adapter = open_adapter(folder, base=bound)
    require_fit(adapter)
    card = model_card(adapter, name=name, facts={"Origin": "trained elsewhere, imported"}, metrics={})
    published = publish(Tracking(), adapter, name=name, card=card)
    say(f"registered as {bold(f'{published.name}/{published.version}')}, alias candidate")
    return Result(data={"adapter": f"{published.name}/{published.version}", **to_json(published)})


@app.command("promote")
@presented
def promote(reference: Reference, to: Annotated[str, typer.Option(help="Alias to point here.")] = "champion") -> Result:
    """Point an alias (default `champion`) at an adapter. Choose by VALIDATION, not by TEST."""
    from harness.registry import promote as point
    from harness.store.tracking import Tracking

    adapter = point(Tracking(), reference, alias=to)
    say(f"{bold(f'{adapter.name}@{to}')} is now version {adapter.version}")
    return Result(data={"adapter": f"{adapter.name}/{adapter.version}", "alias": to})


@app.command("export")
@presented
def export(
    reference: Reference,
    target: Annotated[Path, typer.Argument(help="New folder.")],
    merge: Annotated[bool, typer.Option("--merge", help="Fold the adapter into its base: a whole checkpoint.")] = False,
) -> Result:
    """Write an adapter to a folder that PEFT (or, with --merge, plain transformers) loads."""
    from harness.registry import export as write
    from harness.store.tracking import Tracking

    folder = write(Tracking(), reference, target, merge=merge)
    say(f"written to {bold(folder)}")
    return Result(data={"folder": str(folder), "merged": merge})


def _row(record: AdapterRecord) -> tuple[object, ...]:
    from datetime import UTC, datetime

    loss = record.metrics.get("validation_loss")
    return (
        f"{record.name}/{record.version}",
        ", ".join(record.aliases),
        record.base + (f" @ {record.base_revision[:8]}" if record.base_revision else ""),
        None if loss is None else f"{loss:.3f} nats",
        record.digest[:12],
        datetime.fromtimestamp(record.created / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M"),
    )
