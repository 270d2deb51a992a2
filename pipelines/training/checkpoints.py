"""Checkpoints that survive a kill: one counts only once its mark is written, and only for the run that wrote it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import IntegrityError
from harness.store.artifacts import read_json, write_json

MARK = "complete.json"
IDENTITY = "identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    step: int
    progress: dict[str, Any]  # seconds and tally at that step, over all sessions


def open_checkpoints(folder: Path, *, identity: str) -> Checkpoint | None:
    """The latest complete checkpoint of this run, or None; torn ones are removed.

    `identity` is the digest of all that decides the run. A folder that another run wrote raises `IntegrityError`: its
    optimizer state is never loaded into this one.
    """
    owner = folder / IDENTITY
    if not owner.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(owner, {"identity": identity})
    elif read_json(owner)["identity"] != identity:
        raise IntegrityError(
            f"`{folder}` holds checkpoints of another recipe or other data: remove it, or train into another folder"
        )
    found = []
    for candidate in folder.glob("checkpoint-*"):
        if (mark := candidate / MARK).exists():
            step = int(candidate.name.removeprefix("checkpoint-"))
            found.append(Checkpoint(folder=candidate, step=step, progress=read_json(mark)))
        else:
            shutil.rmtree(candidate)
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def mark_complete(folder: Path, progress: Mapping[str, float]) -> None:
    """Say that everything of this checkpoint is on disk, and how far it had come."""
    write_json(folder / MARK, progress)
