"""`screentest adapters`: what the registry holds, and moving adapters in and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.store.tracking import Tracking
from harness.terminal import bold, say
from pipelines.cli import options
from pipelines.cli.presenter import Result, Table, Verbs

if TYPE_CHECKING:
    from harness.registry import AdapterRecord

app = Verbs("List, import, promote, export and publish registered adapters.")

RunOption = Annotated[
    str | None, typer.Option(help="Run whose report is the proof; the newest that tests it when left out.")
]
CardOption = Annotated[Path | None, typer.Option(help="File to write; stdout when left out.")]
MergeOption = Annotated[bool, typer.Option("--merge", help="Fold the adapter into its base: a whole checkpoint.")]
Reference = Annotated[str, typer.Argument(help="`name@alias` or `name/version`.", metavar="ADAPTER")]


@app.verb("list")
def list_adapters(name: Annotated[str | None, typer.Argument(help="Only this registered model.")] = None) -> Result:
    """Every adapter of the registry, newest first."""
    from harness.registry import records

    found = records(Tracking(), name=name)
    columns = ("Adapter", "Aliases", "Base", "Validation loss", "Digest", "Made")
    empty = "The registry is empty: `screentest sft` or `screentest adapters import` put an adapter in."
    return Result(
        data={"adapters": found},
        shown=(Table(columns=columns, rows=[_row(record) for record in found]),),
        notes=() if found else (empty,),
    )


@app.verb("import")
def import_adapter(
    folder: Annotated[Path, typer.Argument(help="A PEFT folder: adapter_config.json and adapter_model.safetensors.")],
    name: Annotated[str, typer.Option(help="Registered model to add a version to.")],
    base: Annotated[
        str | None,
        typer.Option(help="Base model, where the adapter names none or one that moved: embedded, hub id or folder."),
    ] = None,
    revision: options.Revision = None,
    system: Annotated[
        str | None, typer.Option(help="System message that it was trained under; it is asked with it from here on.")
    ] = None,
) -> Result:
    """Register an adapter that was trained elsewhere; safetensors only, checked against its base."""
    from dataclasses import replace

    from harness.models.attaching import require_fit
    from harness.models.bases import load_tokenizer, resolve_base
    from harness.models.contracts import contract_of
    from harness.registry import model_card, open_adapter, publish
    from harness.store.artifacts import to_json

    bound = None if base is None else resolve_base(base, revision=revision)
    adapter = open_adapter(folder, base=bound)
    require_fit(adapter)
    if system is not None:
        contract = contract_of(load_tokenizer(adapter.base), system=system, max_tokens=None, quantization=None)
        adapter = replace(adapter, contract=contract)
    card = model_card(adapter, name=name, facts={"Origin": "trained elsewhere, imported"}, metrics={})
    published = publish(Tracking(), adapter, name=name, card=card)
    say(f"registered as {bold(f'{published.name}/{published.version}')}, alias candidate")
    if published.contract is None:
        say("how it was asked in training is not on record: `--system` says under which system message")
    return Result(data={"adapter": f"{published.name}/{published.version}", **to_json(published)})


@app.verb("promote")
def promote(reference: Reference, to: Annotated[str, typer.Option(help="Alias to point here.")] = "champion") -> Result:
    """Point an alias (default `champion`) at an adapter. Choose by VALIDATION, not by TEST."""
    from harness.registry import promote as point

    adapter = point(Tracking(), reference, alias=to)
    say(f"{bold(f'{adapter.name}@{to}')} is now version {adapter.version}")
    return Result(data={"adapter": f"{adapter.name}/{adapter.version}", "alias": to})


@app.verb("export")
def export(
    reference: Reference,
    target: Annotated[Path, typer.Argument(help="New folder.")],
    merge: MergeOption = False,
) -> Result:
    """Write an adapter to a folder that PEFT (or, with --merge, plain transformers) loads."""
    from harness.registry import export as write

    folder = write(Tracking(), reference, target, merge=merge)
    say(f"written to {bold(folder)}")
    return Result(data={"folder": str(folder), "merged": merge})


@app.verb("card")
def card(reference: Reference, run: RunOption = None, out: CardOption = None) -> Result:
    """Write a model card that carries proof: base, recipe, data, audit, and a report's verdicts with intervals."""
    from harness.registry import card_of, resolve
    from harness.reporting.model_card import find_proof, proven_card

    tracking = Tracking()
    adapter = resolve(tracking, reference)
    proof = find_proof(tracking, adapter, run=run)
    text = proven_card(card_of(adapter), adapter, proof)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        say(f"written to {bold(out)}")
    source = None if proof is None else proof.record.run_id
    return Result(data={"card": text, "run": source}, shown=() if out else (text.rstrip("\n"),))


@app.verb("push")
def push(
    reference: Reference,
    repo: Annotated[str, typer.Argument(help="`owner/name` on the hub; made where it is not there.")],
    run: RunOption = None,
    private: Annotated[bool, typer.Option("--private", help="Of a repository that is made.")] = False,
    merge: MergeOption = False,
) -> Result:
    """Push an adapter with its card to a hub; the token is that of HF_TOKEN, the hub that of HF_ENDPOINT."""
    import tempfile

    from harness.models.hub import push_folder
    from harness.registry import card_of, resolve
    from harness.registry import export as write
    from harness.reporting.model_card import find_proof, proven_card

    tracking = Tracking()
    adapter = resolve(tracking, reference)
    proof = find_proof(tracking, adapter, run=run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(tracking, reference, Path(scratch) / "adapter", merge=merge)
        (folder / "README.md").write_text(proven_card(card_of(adapter), adapter, proof), encoding="utf-8")
        message = f"{adapter.name}/{adapter.version} from Screentest"
        address = push_folder(folder, repo, private=private, message=message)
    if proof is None:
        say("its card carries no result: no report of this home tests it")
    say(f"pushed: {bold(address)}")
    return Result(data={"adapter": f"{adapter.name}/{adapter.version}", "commit": address, "merged": merge})


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
