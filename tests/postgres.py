"""A real PostgreSQL server for tests: `Server.start()` makes one on a unix socket in a folder of its own.

Skipped only where the Debian package `postgresql` (or its like) is not installed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

ACCOUNT = "postgres"  # the server refuses to run as root


def binaries() -> Path | None:
    """The newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@dataclass(slots=True)
class Server:
    """A running server."""

    folder: Path
    programs: Path
    n_databases: int = field(default=0)

    def url(self, database: str) -> str:
        """Address of a database."""
        return f"postgresql+psycopg://{self.owner}@/{database}?host={self.folder}"

    @property
    def owner(self) -> str:
        return ACCOUNT if os.getuid() == 0 else os.environ.get("USER", str(os.getuid()))

    def fresh(self, template: str = "template0") -> str:
        """Address of a new database."""
        self.n_databases += 1
        name = f"db{self.n_databases}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def restart(self) -> None:
        """Every connection is cut, as by a reboot."""
        self.run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "-m", "fast", "restart"
        )

    def drop(self, url: str) -> None:
        self._administer(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs, as an account that it accepts."""
        account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **account,
        )  # type: ignore[call-overload]  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that is gone afterwards; skips the test where none is installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="screentest-pg-"))
    if os.getuid() == 0:
        shutil.chown(folder, ACCOUNT, ACCOUNT)
    server = Server(folder=folder, programs=programs)
    data, log = str(folder / "data"), str(folder / "log")
    try:
        server.run("initdb", "-D", data, "-U", server.owner, "--auth=trust", "--encoding=UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=120"
        server.run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield server
        finally:
            server.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
