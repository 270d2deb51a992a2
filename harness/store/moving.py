"""A home that was moved or copied: MLflow stores absolute addresses of artifacts, which then name the old place.

They are rewritten when the store is opened, so that everything that reads or writes them, MLflow's own page too, finds
the files that moved with it, and a copy never writes into the home that it was copied from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

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


def move_in(engine: Engine, artifacts: Path) -> None:
    """Rewrite the addresses of a store's artifacts that lie in another home to the folder of this one."""
    here = artifacts.as_uri()
    with engine.connect() as connection:
        if not _elsewhere(connection, artifacts):
            return
    with engine.begin() as connection:
        for there in _elsewhere(connection, artifacts):
            _rewrite(connection, there, here)


def _elsewhere(connection: Connection, artifacts: Path) -> set[str]:
    """Other homes' artifacts folders, told by the experiments in them: `<home>/artifacts/<experiment>`."""
    from sqlalchemy import text

    here, found = artifacts.as_uri(), set()
    for name, location in connection.execute(text("SELECT name, artifact_location FROM experiments")):
        root = str(location).removesuffix(f"/{quote(name)}")
        is_home = root.startswith("file:") and root.endswith("/artifacts") and root not in (location, here)
        # Somebody's own folder of that name stays where it is.
        if is_home and ((artifacts / name).is_dir() or not Path(url2pathname(urlparse(location).path)).exists()):
            found.add(root)
    return found


def _rewrite(connection: Connection, there: str, here: str) -> None:
    from sqlalchemy import text

    values = {"here": f"{here}/", "there": f"{there}/", "n": len(there) + 1}
    for table, column in _ADDRESSES:
        moved = f"UPDATE {table} SET {column} = :here || substr({column}, :n + 1)"
        connection.execute(text(f"{moved} WHERE substr({column}, 1, :n) = :there"), values)
