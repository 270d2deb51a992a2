"""A copy of the store while raters go on: consistent to one moment, and checked before it is called a backup."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy.engine import make_url

from harness.errors import InputError, IntegrityError

PAGES = 256  # copied at a time; writers get their turn in between


def back_up(url: str, target: Path) -> int:
    """Copy an SQLite store to a new file; returns its size in bytes.

    Raises:
        InputError: the store is PostgreSQL (whose own `pg_dump` does this), there is none yet, or the target exists.
        IntegrityError: the copy does not pass SQLite's own check.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        shown = address.set(drivername="postgresql").render_as_string(hide_password=True)
        command = f"pg_dump --format=custom --file={target} {shown}"
        raise InputError(f"`study backup` copies SQLite stores, got PostgreSQL; run `{command}`")
    source = Path(address.database or "")
    if not source.is_file():
        raise InputError(f"`{source}` must be a store with something in it; there is none yet")
    if target.exists():
        raise InputError(f"`{target}` must be a new file, got one that exists; backups are not overwritten")
    partial = target.with_name(target.name + ".part")
    with contextlib.closing(sqlite3.connect(source)) as store, contextlib.closing(sqlite3.connect(partial)) as copy:
        store.backup(copy, pages=PAGES)
        copy.execute("PRAGMA journal_mode=DELETE")
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise IntegrityError(f"`{partial}` does not pass SQLite's check ({verdict}); the store itself may be damaged")
    os.replace(partial, target)
    return target.stat().st_size
