"""Where state lives, read once from the environment.

| variable | what | default |
|---|---|---|
| `SCREENTEST_HOME` | folder of all local state | `./mlruns` |
| `MLFLOW_TRACKING_URI` | tracking store and registry | `sqlite:///<home>/mlflow.db` |
| `SCREENTEST_DATABASE_URL` | ratings and judge cache | `sqlite:///<home>/screentest.db` |
| `SCREENTEST_ENDPOINTS` | servers that reply for bases and registered adapters, commas between | none: in process |
| `SCREENTEST_TRACES` | how many judged replies of a stage MLflow shows as traces, drawn where there are more | 500 |
| `SCREENTEST_OWNER_SECRET` | opens a study's results pages; read where it is compared, kept nowhere | none: closed |
| `SCREENTEST_CACHE` | downloaded corpora, the converted embedded model | `$XDG_CACHE_HOME/screentest` |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError

ENDPOINTS = "SCREENTEST_ENDPOINTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Resolved places of state; make one with `Settings.from_environment()`."""

    home: Path  # absolute
    tracking_uri: str
    database_url: str
    cache: Path  # absolute
    endpoints: tuple[str, ...] = ()  # base URLs of equal servers
    n_traces: int = 500  # of judged replies, a stage

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment (given or `os.environ`); touches no file."""
        env = os.environ if environment is None else environment
        home = Path(os.path.abspath(Path(env.get("SCREENTEST_HOME") or "mlruns").expanduser()))
        _require_text(home)
        cache_root = Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        cache = Path(env.get("SCREENTEST_CACHE") or cache_root / "screentest").expanduser().absolute()
        return cls(
            home=home,
            tracking_uri=env.get("MLFLOW_TRACKING_URI") or sqlite_url(home / "mlflow.db"),
            database_url=env.get("SCREENTEST_DATABASE_URL") or sqlite_url(home / "screentest.db"),
            cache=cache,
            n_traces=_count(env.get("SCREENTEST_TRACES") or "500"),
            endpoints=tuple(url.strip().rstrip("/") for url in env.get(ENDPOINTS, "").split(",") if url.strip()),
        )

    @property
    def store_name(self) -> str:
        """The tracking store's address as it may be shown: a password in it is left out."""
        return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", self.tracking_uri)

    @property
    def is_sqlite(self) -> bool:
        """Whether runs are logged to a file of this machine: one writer at a time, no other machine."""
        return self.tracking_uri.startswith("sqlite")

    @property
    def is_own_store(self) -> bool:
        """Whether the tracking store is the home's own file, which moves with the home."""
        return self.tracking_uri == sqlite_url(self.home / "mlflow.db")

    @property
    def artifacts(self) -> Path:
        """Folder that holds the artifacts of every local run."""
        return self.home / "artifacts"

    @property
    def work(self) -> Path:
        """Folder in which unfinished stages keep what they have so far."""
        return self.home / "work"


def sqlite_url(file: Path) -> str:
    """The address of a SQLite file, whatever characters its path has: SQLAlchemy decodes `%` and cuts at `?`."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    # MLflow makes the folder of a plain `sqlite:` address as it is written, undecoded, beside the one that is meant.
    return f"sqlite{'' if quoted == str(file) else '+pysqlite'}:///{quoted}"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"`SCREENTEST_TRACES` must be a whole number, 0 for none, got `{text}`")
    return int(text)


def _require_text(home: Path) -> None:
    try:
        str(home).encode()
    except UnicodeEncodeError as err:
        raise ConfigError(f"`SCREENTEST_HOME` must be a path in UTF-8, got {os.fsencode(home)!r}; rename it") from err
