"""Checkpoints that survive a kill: one counts only once its mark is written, and only for the run that wrote it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import IntegrityError

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
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / IDENTITY
    if not owner.exists():
        _clear(folder)
        _write_whole(owner, {"identity": identity})
    elif json.loads(owner.read_text(encoding="utf-8"))["identity"] != identity:
        raise IntegrityError(
            f"`{folder}` holds checkpoints of another recipe or other data: remove it, or train into another folder"
        )
    found = []
    for candidate in folder.glob("checkpoint-*"):
        mark = candidate / MARK
        if mark.exists():
            found.append(_read(candidate))
        else:
            shutil.rmtree(candidate)
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def mark_complete(folder: Path, progress: Mapping[str, float]) -> None:
    """Say that everything of this checkpoint is on disk, and how far it had come."""
    _write_whole(folder / MARK, progress)


def _write_whole(path: Path, content: Mapping[str, str | float]) -> None:
    """A file that appears whole or not at all."""
    torn = path.with_name(f"{path.name}.new")
    torn.write_text(json.dumps(dict(content)), encoding="utf-8")
    torn.replace(path)


def _read(folder: Path) -> Checkpoint:
    progress = json.loads((folder / MARK).read_text(encoding="utf-8"))
    return Checkpoint(folder=folder, step=int(folder.name.removeprefix("checkpoint-")), progress=progress)


def _clear(folder: Path) -> None:
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
