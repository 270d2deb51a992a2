"""Heads of learned judges in the registry: a version each, bound by digest, with its card."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from harness.errors import InputError, IntegrityError
from harness.registry import CANDIDATE, is_registry_name
from harness.store.artifacts import digest_folder
from harness.store.tracking import StageResult, Tracking

DIGEST = "judge_head"  # the tag that tells such a version from an adapter's
HEAD_FOLDER = "head"  # inside the stage that taught it


def publish_head(tracking: Tracking, taught: StageResult, *, name: str, card: str) -> str:
    """The version `name/number` of what a stage taught; made once, `candidate` from here on."""
    from mlflow.exceptions import MlflowException

    client, digest = tracking.client, digest_folder(taught.folder / HEAD_FOLDER)
    with contextlib.suppress(MlflowException):  # it is there already
        client.create_registered_model(name, tags={"kind": "judge"})
    version = next(
        (v.version for v in client.search_model_versions(f"name = '{name}'") if v.tags.get(DIGEST) == digest), None
    )
    if version is None:
        source = f"{client.get_run(taught.source_run_id).info.artifact_uri}/{HEAD_FOLDER}"
        made = client.create_model_version(
            name, source, run_id=taught.source_run_id, tags={DIGEST: digest}, description=card
        )
        version = made.version
    client.set_registered_model_alias(name, CANDIDATE, version)
    return f"{name}/{version}"


def head_folder(tracking: Tracking, named: str) -> Path:
    """The folder of a head: of the registry (`name@alias`, `name/version`), or a folder.

    Raises:
        InputError: there is none of that name.
        IntegrityError: its files are not those that were published.
    """
    if Path(named).is_dir():
        return Path(named)
    item = _version(tracking, named)
    folder = tracking.fetched(f"{item.name}-{item.version}-{item.tags[DIGEST][:16]}", item.source)
    if digest_folder(folder) != item.tags[DIGEST]:
        raise IntegrityError(f"`{named}` was altered since it was published; teach the judge anew")
    return folder


def _version(tracking: Tracking, named: str) -> Any:
    from mlflow.exceptions import MlflowException

    what = f"`head` must name what a judge was taught (name@alias, name/version or a folder), got {named!r}"
    if not is_registry_name(named):
        raise InputError(what)
    try:
        if "@" in named:
            item = tracking.client.get_model_version_by_alias(*named.split("@", 1))
        else:
            item = tracking.client.get_model_version(*named.rsplit("/", 1))
    except MlflowException as err:
        raise InputError(f"{what}; the registry holds none of that name") from err
    if DIGEST not in item.tags:
        raise InputError(f"{what}, which is something else")
    return item
