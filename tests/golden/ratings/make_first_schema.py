"""Writes `first_schema.sql`: a store as the first schema of ratings had it. Run once, when that schema was new.

`python tests/golden/ratings/make_first_schema.py` from the repository, with `tests/` on the path.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from panels import Clock, a_study, favouring, rate_all

from harness.store.database import open_database
from harness.studies.casting import Cast, cast_rating
from harness.studies.serving import RatingTask, next_task
from harness.studies.studies import add_rehearsal

HERE = Path(__file__).parent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        engine = open_database(f"sqlite:///{path}")
        clock = Clock()
        created = a_study(engine, name="first", n_prompts=4, clock=clock, repeats=0.25)
        one, two, three = (link.token for link in created.links)
        rate_all(engine, one, favouring("sft"), clock=clock, limit=1)
        cast_rating(engine, one, Cast(key="undo", action="undo"), clock=clock)
        task = next_task(engine, one, clock=clock)
        assert isinstance(task, RatingTask)
        cast_rating(engine, one, Cast(key="skip", action="skip", slot=task.slot, reason="cannot read it"), clock=clock)
        for token in (one, two, three):
            rate_all(engine, token, favouring("sft"), clock=clock, limit=5 if token != one else 4)
        trial = add_rehearsal(engine, created.study, "trial", clock=clock)
        rate_all(engine, trial.token, favouring("base"), clock=clock, limit=4)
        engine.dispose()
        with sqlite3.connect(path) as connection:
            lines = "\n".join(connection.iterdump())
        (HERE / "first_schema.sql").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
