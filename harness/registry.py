"""Adapters as MLflow registered models: published once, resolved by digest, promoted by alias.

What is stored is the adapter (safetensors and its configuration), a model card, and `adapter.json` with where it came
from. Base weights are never copied: the base is named by source, revision and digest. Screentest resolves an adapter
from these files; the stored pyfunc is for `mlflow models predict` and is never loaded here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.doors.adapters import ADAPTER_FILES, adapter_digest, open_adapter_files, read_contract, write_contract
from harness.errors import InputError, IntegrityError
from harness.models.adapters import bound_base
from harness.models.bases import load_tokenizer
from harness.models.contracts import own_system, own_template
from harness.store.artifacts import digest_json, from_json, read_json, to_json, write_json
from harness.store.sentences import telling
from harness.store.software_versions import git_commit, versions
from harness.store.tracking import Tracking
from harness.types import Adapter, BaseModel, Contract, Decoding, JsonObject

CANDIDATE, CHAMPION = "candidate", "champion"
_PARAMS = {"max_new_tokens": "long", "temperature": "double", "top_p": "double", "seed": "long"}  # of the pyfunc
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRecord:
    """What the registry holds of one version."""

    name: str
    version: str
    aliases: tuple[str, ...]
    digest: str
    base: str
    base_revision: str | None
    recipe_digest: str | None
    data_digest: str | None
    parent: str | None
    run_id: str | None
    created: int  # milliseconds since 1970
    contract: Contract | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


# ── from a folder ────────────────────────────────────────────────────────────────────────────────────────────────────


def open_adapter(folder: Path, *, base: BaseModel | None = None) -> Adapter:
    """An adapter from a PEFT folder, bound to its base: the one that its configuration names, or the one given.

    Raises InputError: not an adapter that can be loaded, or its base is not named, not there, or another than the
    given.
    """
    files = open_adapter_files(folder)
    bound = bound_base(files, given=base)
    return Adapter(
        name=files.name, version=None, path=str(folder), digest=files.digest, base=bound, contract=read_contract(folder)
    )


# ── publish ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def publish(
    tracking: Tracking,
    adapter: Adapter,
    *,
    name: str,
    run_id: str | None = None,
    card: str,
    metrics: Mapping[str, float] | None = None,
) -> Adapter:
    """Store an adapter as a version of a registered model and give it the alias `candidate`.

    An adapter that already stands under this name (same digest, base and contract) is not stored twice.

    Args:
        adapter: from `open_adapter`, with recipe, data and parent filled in where known.
        run_id: the run that trained it; a new run of stage `import` is made when None.
        metrics: figures worth a column in the registry, e.g. the validation loss.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"`name` must be letters, digits, dots, dashes and underscores, got {name!r}")
    adapter = replace(adapter, digest=adapter_digest(Path(adapter.path)))
    found = standing(tracking, name, digest=adapter.digest)
    if found is not None and found.base == adapter.base and adapter.contract in (None, found.contract):
        return promote(tracking, f"{name}/{found.version}", alias=CANDIDATE)
    if run_id is None:
        with tracking.command("import") as stage:
            return publish(tracking, adapter, name=name, run_id=stage.run_id, card=card, metrics=metrics)
    metadata = {
        "adapter": to_json(replace(adapter, name=name, path="")),
        "metrics": dict(metrics or {}),
        "git_commit": git_commit(),
        "versions": versions(),
    }
    version = _log_model(tracking, adapter, name=name, run_id=run_id, card=card, metadata=metadata)
    tags = {
        "base": adapter.base.source,
        "base_revision": adapter.base.revision,
        "recipe_digest": adapter.recipe_digest,
        "data_digest": adapter.data_digest,
        "parent": adapter.parent,
        "contract": None if adapter.contract is None else json.dumps(to_json(adapter.contract)),
        "metrics": json.dumps(dict(metrics or {})),
        "digest": adapter.digest,  # last: a version counts from here on, and another process may be reading
    }
    for key, value in tags.items():
        if value is not None:
            tracking.client.set_model_version_tag(name, version, key, value)
    tracking.client.set_registered_model_alias(name, CANDIDATE, version)
    return resolve(tracking, f"{name}/{version}")


def standing(tracking: Tracking, name: str, *, digest: str) -> Adapter | None:
    """The newest version under a name that is these bytes: MLflow numbers versions from 1 again after a delete."""
    for record in records(tracking, name=name):
        if record.digest == digest:
            with contextlib.suppress(IntegrityError, InputError):  # altered or gone: as good as not there
                return resolve(tracking, f"{name}/{record.version}")
    return None


def _log_model(tracking: Tracking, adapter: Adapter, *, name: str, run_id: str, card: str, metadata: JsonObject) -> str:
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    client = tracking.client
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

    usual = Decoding()
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "prompt")]),
        outputs=Schema([ColSpec("string", "reply")]),
        params=ParamSchema(
            [
                *(ParamSpec(key, kind, getattr(usual, key)) for key, kind in _PARAMS.items()),
                ParamSpec("system", "string", own_system(adapter, None) or ""),
            ]
        ),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapter"
        folder.mkdir()
        for file in ADAPTER_FILES:
            shutil.copyfile(Path(adapter.path) / file, folder / file)
        write_json(Path(scratch) / "adapter.json", metadata)
        (Path(scratch) / "README.md").write_text(card, encoding="utf-8")
        # Not `start_run`: it ends the run, and refuses beside a run or an experiment of the caller's notebook.
        told = telling(tracking.settings.store_name, rule="a store that takes an adapter")
        with told, tracking.claimed_process(), _quiet():
            model = client.create_logged_model(client.get_run(run_id).info.experiment_id, name, source_run_id=run_id)
            info = Model.log(
                artifact_path=None,
                flavor=mlflow.pyfunc,
                run_id=run_id,
                model_id=model.model_id,
                python_model=str(Path(__file__).with_name("registry_model.py")),
                artifacts={
                    "adapter": str(folder),
                    "record": str(Path(scratch) / "adapter.json"),
                    "card": str(Path(scratch) / "README.md"),
                },
                signature=signature,
                pip_requirements=[f"screentest=={metadata['versions'].get('screentest', '0')}"],
                metadata={"base": adapter.base.source, "digest": adapter.digest},
                registered_model_name=name,
            )
    return str(info.registered_model_version)


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep log_model's hints about type hints and its announcements off the user's screen."""
    import logging
    import warnings

    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    sink = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        with warnings.catch_warnings(), sink, contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


# ── find ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def records(tracking: Tracking, *, name: str | None = None) -> list[AdapterRecord]:
    """Every version in the registry, newest first."""
    if name is not None and not _NAME.fullmatch(name):
        return []
    query = None if name is None else f"name = '{name}'"
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in tracking.client.search_registered_models(filter_string=query, max_results=1000):
        for alias, version in model.aliases.items():
            aliases.setdefault((model.name, str(version)), []).append(alias)
    found = []
    for item in tracking.client.search_model_versions(filter_string=query):
        tags = item.tags
        if "digest" not in tags:
            continue  # somebody else's model
        found.append(
            AdapterRecord(
                name=item.name,
                version=str(item.version),
                aliases=tuple(sorted(aliases.get((item.name, str(item.version)), []))),
                digest=tags["digest"],
                base=tags["base"],
                base_revision=tags.get("base_revision"),
                recipe_digest=tags.get("recipe_digest"),
                data_digest=tags.get("data_digest"),
                parent=tags.get("parent"),
                run_id=item.run_id,
                created=int(item.creation_timestamp),
                contract=from_json(Contract, json.loads(tags["contract"])) if "contract" in tags else None,
                metrics=json.loads(tags.get("metrics", "{}")),
            )
        )
    return sorted(found, key=lambda record: (record.created, int(record.version)), reverse=True)


def is_registry_name(text: str) -> bool:
    """Whether a text has the form `name@alias` or `name/version`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(@[\w.-]+|/\d+)", text) is not None


def resolve(tracking: Tracking, reference: str) -> Adapter:
    """The adapter that `name@alias` or `name/version` names, its files checked against the recorded digest.

    Raises:
        InputError: no such name, alias or version.
        IntegrityError: the stored files are not those that were published.
    """
    item = _version(tracking, reference)
    folder = model_folder(tracking, item) / "artifacts"
    record = read_json(folder / "adapter.json")
    data = record["adapter"] | {
        "name": item.name,
        "version": str(item.version),
        "path": str(folder / "adapter"),
        "base": _here(tracking, BaseModel(**record["adapter"]["base"])),
    }
    adapter = from_json(Adapter, data)
    found = adapter_digest(folder / "adapter")
    if found != adapter.digest or found != item.tags.get("digest", found):
        raise IntegrityError(
            f"`{reference}` was published with digest {adapter.digest[:12]} and its files have {found[:12]}: "
            "they were altered; publish the adapter again"
        )
    return adapter


def _here(tracking: Tracking, base: BaseModel) -> BaseModel:
    """A base that a stage of this home made, where the home lies now."""
    made_in = base.source.rpartition("/artifacts/screentest/")[2]
    moved = tracking.settings.artifacts / "screentest" / made_in
    return replace(base, source=str(moved)) if not Path(base.source).exists() and moved.is_dir() else base


def model_folder(tracking: Tracking, item: Any) -> Path:
    """The read-only folder of a model version; fetched when the store is remote."""
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    uri = tracking.client.get_model_version_download_uri(item.name, item.version)
    # A name can be deleted and made anew: the address tells such versions apart.
    return tracking.fetched(f"{item.name}-{item.version}-{digest_json(uri)[:16]}", uri)


def _version(tracking: Tracking, reference: str) -> Any:
    from mlflow.exceptions import MlflowException

    if not is_registry_name(reference):
        how = f": `screentest adapters import {reference} --name NAME` registers it" if Path(reference).is_dir() else ""
        raise InputError(f"`{reference}` must be `name@alias` or `name/version`{how}")
    try:
        if "@" in reference:
            name, alias = reference.split("@", 1)
            return tracking.client.get_model_version_by_alias(name, alias)
        name, number = reference.rsplit("/", 1)
        return tracking.client.get_model_version(name, number)
    except MlflowException as err:
        known = sorted({f"{r.name}@{a}" for r in records(tracking) for a in r.aliases})
        hint = f"; there are {', '.join(known)}" if known else "; the registry is empty"
        raise InputError(f"`{reference}` must name an adapter of the registry{hint}") from err


# ── change ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def promote(tracking: Tracking, reference: str, *, alias: str = CHAMPION) -> Adapter:
    """Point an alias at a version; the alias leaves the version that had it."""
    if not _NAME.fullmatch(alias) or re.fullmatch(r"v?\d+|latest", alias):
        raise InputError(f"`alias` must be a name that is neither a version nor `latest`, got {alias!r}")
    adapter = resolve(tracking, reference)
    tracking.client.set_registered_model_alias(adapter.name, alias, adapter.version)
    return adapter


def export(tracking: Tracking, reference: str, target: Path, *, merge: bool = False) -> Path:
    """Write an adapter (or, merged, a whole checkpoint) to a folder that PEFT or transformers loads.

    Raises InputError: the folder exists and is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise InputError(f"`{target}` must be a new or empty folder; it holds files")
    adapter = resolve(tracking, reference)
    partial = target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if merge:
        from harness.models.merging import save_merged

        save_merged(adapter, partial)
    else:
        for file in ADAPTER_FILES:
            shutil.copyfile(Path(adapter.path) / file, partial / file)
        write_contract(partial, adapter.contract)
        template = None if adapter.contract is None else own_template(adapter, load_tokenizer(adapter.base))
        if template is not None:
            (partial / "chat_template.jinja").write_text(template, encoding="utf-8")
    (partial / "README.md").write_text(card_of(adapter), encoding="utf-8")
    if target.exists():
        target.rmdir()
    partial.rename(target)
    return target


def card_of(adapter: Adapter) -> str:
    """The card that an adapter of the registry was published with."""
    return (Path(adapter.path).parent / "README.md").read_text(encoding="utf-8")


def _asked_in_training(contract: Contract | None) -> dict[str, str]:
    """What those who know files alone (an export, MLflow's model) cannot keep, to be read."""
    rows = {}
    if contract is not None and contract.max_tokens is not None:
        rows["History"] = f"the newest turns that fit in {contract.max_tokens} tokens with the reply"
    if contract is not None and contract.quantization == "nf4":
        rows["Base in training"] = "4 bits (NF4); MLflow's model and a merge answer in full precision"
    return rows


def model_card(adapter: Adapter, *, name: str, facts: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """A model card by Hugging Face's conventions: front matter, what it is, how it was made, how to use it."""
    is_hub = "/" in adapter.base.source and not adapter.base.source.startswith(("/", "."))
    base_line = f"base_model: {adapter.base.source}\n" if is_hub else ""
    front = f"---\nlibrary_name: peft\n{base_line}tags:\n- lora\n- screentest\npipeline_tag: text-generation\n---\n"
    origin = "trained and" if adapter.recipe_digest else "trained elsewhere and"
    base = adapter.base.source if is_hub else Path(adapter.base.source).name  # where it lies is nobody's business
    rows = {
        "Base": base + (f" @ {adapter.base.revision}" if adapter.base.revision else ""),
        "Base digest": adapter.base.digest[:16],
        "Adapter digest": adapter.digest[:16],
        "Recipe digest": (adapter.recipe_digest or "unknown")[:16],
        "Data digest": (adapter.data_digest or "unknown")[:16],
        "Parent adapter": (adapter.parent or "none")[:16],
        **_asked_in_training(adapter.contract),
        **facts,
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    figures = "\n".join(
        f"- {key}: {value:.4f} (on validation, no interval: not a result)" for key, value in metrics.items()
    )
    return (
        f"{front}\n# {name}\n\nA LoRA adapter {origin} registered by Screentest.\n\n| | |\n|---|---|\n{table}\n\n"
        f"## Training figures\n\n{figures or 'None recorded.'}\n\n## Use\n\n"
        f"```\nscreentest compare base {name}@candidate --data test.jsonl\n```\n\n"
        "## Limits\n\nWhat this adapter is worth is decided by an evaluation with intervals on held-out data, "
        "not by the figures above.\n"
    )
