"""Whether a finished stage is still the bytes it was: sizes and times first, digests where those moved.

What was found intact is remembered beside the work folders, one file a run; a home that is copied or touched is
digested once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.store.artifacts import digest_file, digest_json, read_json, read_manifest, write_json

Seen = Mapping[str, Any]


def what_changed(folder: Path, *, output_digest: str, fingerprint: str, remembered: Path) -> str | None:
    """What is no more as a stage left it, in words; None where every file is.

    Args:
        folder: the stage's files, with manifest and `stage.json`.
        output_digest: of the manifest, as recorded in the run.
        fingerprint: of what decides the result, which `stage.json` spells out.
        remembered: the file that says what was digested before.
    """
    try:
        manifest = read_manifest(folder)
        identity = read_json(folder / "stage.json")
        decided = {key: identity[key] for key in ("stage", "revision", "config", "inputs")}
    except (InputError, OSError, KeyError, TypeError, ValueError, RecursionError) as err:
        return f"its record cannot be read ({err})"
    if digest_json(manifest) != output_digest or digest_json(decided) != fingerprint:
        return "its record is not the one that was written"
    known, found = _recall(remembered), {}
    for name, digest in manifest.items():
        try:
            found[name] = _seen(folder / name, digest)
            if known.get(name) != found[name] and digest_file(folder / name) != digest:
                return f"`{name}` is not the file that was recorded"
        except OSError as err:
            return f"`{name}` cannot be read ({err.strerror})"
    if found != known:
        with contextlib.suppress(OSError):  # a full or read-only disk costs the next command a digest
            remembered.parent.mkdir(parents=True, exist_ok=True)
            write_json(remembered, found)
    return None


def _seen(file: Path, digest: str) -> list[int | str]:
    """What tells that a file was written since: its time of change cannot be set by hand, as the other can."""
    state = file.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, digest]


def _recall(remembered: Path) -> Seen:
    try:
        known = read_json(remembered)
    except (InputError, OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
