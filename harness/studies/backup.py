"""A copy of the store while raters go on: consistent to one moment, and checked before it is called a backup."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from harness.errors import InputError, IntegrityError, UnavailableError
from harness.settings import sqlite_url

PAGES = 256  # copied at a time; writers get their turn in between


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy that passed its check."""

    file: Path
    n_bytes: int
    restored_by: str  # what a person does to have it back


def back_up(url: str, target: Path) -> Backup:
    """Copy a store to a new file: SQLite page by page, PostgreSQL by its own `pg_dump`.

    Raises:
        InputError: there is no store yet, or the target exists.
        UnavailableError: `pg_dump` is not installed, or cannot read the database.
        IntegrityError: the copy does not pass the check of its own format.
    """
    address = make_url(url)
    if target.exists():
        raise InputError(f"`{target}` must be a new file, got one that exists; backups are not overwritten")
    partial = target.with_name(target.name + ".part")
    if address.get_backend_name() == "sqlite":
        _copy_pages(Path(address.database or ""), partial)
        restored_by = f"`SCREENTEST_DATABASE_URL={sqlite_url(target)}` opens it"
    else:
        _dump(address, partial)
        restored_by = f"`pg_restore --dbname=postgresql://user@host/empty {target}` brings it back"
    os.replace(partial, target)
    return Backup(file=target, n_bytes=target.stat().st_size, restored_by=restored_by)


def _copy_pages(source: Path, partial: Path) -> None:
    if not source.is_file():
        raise InputError(f"`{source}` must be a store with something in it; there is none yet")
    with contextlib.closing(sqlite3.connect(source)) as store, contextlib.closing(sqlite3.connect(partial)) as copy:
        store.backup(copy, pages=PAGES)
        copy.execute("PRAGMA journal_mode=DELETE")
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise IntegrityError(f"`{partial}` does not pass SQLite's check ({verdict}); the store itself may be damaged")


def _dump(address: URL, partial: Path) -> None:
    """One snapshot of the whole database; the password goes by the environment, where no list of processes shows it."""
    server = address.set(drivername="postgresql", password=None).render_as_string()
    environment = {**os.environ, **({"PGPASSWORD": str(address.password)} if address.password else {})}
    dumped = _run("pg_dump", "--format=custom", f"--file={partial}", f"--dbname={server}", environment=environment)
    if dumped.returncode != 0:
        partial.unlink(missing_ok=True)
        raise UnavailableError(f"`{server}` must be a database that `pg_dump` can read: {_reason(dumped)}")
    listed = _run("pg_restore", "--list", str(partial), environment=environment)
    if listed.returncode != 0:
        raise IntegrityError(f"`{partial}` does not pass `pg_restore --list` ({_reason(listed)}); back up once more")


def _run(program: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program)
    if found is None:
        raise UnavailableError(f"`study backup` of PostgreSQL needs `{program}`: apt-get install postgresql-client")
    return subprocess.run([found, *arguments], env=environment, capture_output=True, text=True, check=False)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
