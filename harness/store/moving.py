"""A home that was moved or copied: MLflow stores absolute addresses of artifacts, which then name the old place.

They are rewritten when the store is opened, so that everything that reads or writes them, MLflow's own page too, finds
the files that moved with it, and a copy never writes into the home that it was copied from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from harness.store.fetching import local_folder

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def move_in(engine: Engine, home: Path) -> None:
    """Rewrite the addresses of artifacts that lie in another home to where they lie in this one."""
    with engine.connect() as connection:
        if not _elsewhere(connection, home):
            return
    with engine.begin() as connection:
        for there, here in _elsewhere(connection, home).items():
            _rewrite(connection, there, here)


def _elsewhere(connection: Connection, home: Path) -> dict[str, str]:
    """Where experiments of another home say that they lie → where they lie in this one."""
    from sqlalchemy import text

    found = {}
    for number, name, location in connection.execute(
        text("SELECT experiment_id, name, artifact_location FROM experiments")
    ):
        old = local_folder(str(location))
        if old is None or old.name not in (name, str(number)):
            continue  # in a bucket, or in a folder that somebody chose
        new = home / "artifacts" / old.name if old.parent.name == "artifacts" else home / old.name
        is_moved = new.resolve() != old.resolve()  # or the same folder by another way
        if is_moved and (new.is_dir() or not old.exists()):
            found[location] = new.as_uri() if urlparse(location).scheme else str(new)
    return found


def _rewrite(connection: Connection, there: str, here: str) -> None:
    from sqlalchemy import text

    for table, column in _ADDRESSES:
        connection.execute(
            text(
                f"UPDATE {table} SET {column} = :here || substr({column}, :n + 1) "
                f"WHERE {column} = :there OR substr({column}, 1, :n + 1) = :there || '/'"
            ),
            {"here": here, "there": there, "n": len(there)},
        )
