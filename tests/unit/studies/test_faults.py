"""Killed, copied and migrated: every acknowledged vote is there once."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from load import run_with_kills
from panels import Seat, a_study, favouring, seats
from postgres import Server
from sqlalchemy import Engine, func, inspect, select, text

from harness.errors import InputError, UnavailableError
from harness.store.database import migrate, open_database, writing
from harness.studies.backup import back_up
from harness.studies.crowd import agree, enrol
from harness.studies.rating_rows import read_rows
from harness.studies.refusals import CrowdFullError
from harness.studies.results import study_results
from harness.studies.sql_schema import metadata, ratings, slots
from harness.studies.studies import Created, close_study, find_study

FIRST = Path(__file__).resolve().parents[2] / "golden" / "ratings" / "first_schema.sql"


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_votes_survive_kills_and_count_once(engine: Engine, tmp_path: Path) -> None:
    """A panel, and a crowd whose people come all at once, rate side by side."""
    panel = a_study(engine, n_prompts=12, panel={"raters": 8})
    declared = {"people": 10, "items": 6, "overlap": 3, "consent": "You may stop at any time."}
    crowd = a_study(engine, name="crowd", n_prompts=16, crowd=declared)
    with ThreadPoolExecutor(14) as pool:
        came = list(pool.map(lambda n: come(engine, crowd, f"person {n % 12}"), range(14)))
    people = {token for token in came if token}
    assert len(people) == 10  # two who came once more than the study takes; two came twice
    tokens = [*(link.token for link in panel.links), *people]
    told = run_with_kills(address(engine), tokens, tmp_path, pace=0.05, kill_after=[40, 90])
    with engine.begin() as connection:
        stored = connection.execute(select(ratings.c.key, ratings.c.slot_id)).all()
    assert len({row.slot_id for row in stored}) == len(stored)
    # A vote that was stored a moment before the kill may lack its acknowledgement, never the other way round.
    assert set(told.keys) <= {row.key for row in stored}
    assert len(told.keys) == len(set(told.keys))
    assert {row.state for row in read_rows(engine, panel.study)} == {"rated"}
    rows = [row for row in read_rows(engine, crowd.study) if row.state == "rated"]
    assert len({(row.rater, row.item_id) for row in rows}) == len(rows)
    assert max(Counter(row.rater for row in rows).values()) <= 6
    done = Counter(row.item_id for row in rows).values()
    assert (len(done), min(done)) == (16, 3)
    assert sum(done) <= 16 * 3 + 10  # what somebody held as the last ratings came


def come(engine: Engine, crowd: Created, person: str) -> str:
    """The key of one of a crowd who agreed; empty for whom there is no place."""
    assert crowd.opened is not None
    try:
        token = enrol(engine, crowd.opened, person, {})
    except CrowdFullError:
        return ""
    agree(engine, token, language="", answers={})
    return token


def restored(engine: Engine, copy: Path, postgres: Server | None) -> Engine:
    """A store from a backup, as the command says it is done."""
    if postgres is None:
        return open_database(f"sqlite:///{copy}")
    empty = postgres.fresh()
    dump = postgres.folder / copy.name
    shutil.copy(copy, dump)  # where the server's account may read it
    dump.chmod(0o644)
    postgres.run("pg_restore", "--dbname", empty.replace("+psycopg", ""), str(dump))
    return open_database(empty)


def test_a_backup_taken_while_raters_vote_is_consistent(
    engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    postgres = request.getfixturevalue("postgres") if engine.dialect.name == "postgresql" else None
    if postgres is not None and shutil.which("pg_dump") is None:
        pytest.skip("needs pg_dump on the path: apt-get install postgresql-client")
    created = a_study(engine, n_prompts=60)
    begun = threading.Event()

    def rate(rater: Seat) -> None:
        rater.rate(favouring("sft"), limit=3)
        begun.set()
        rater.rate(favouring("sft"))

    threads = [threading.Thread(target=rate, args=(rater,)) for rater in seats(engine, created)]
    for thread in threads:
        thread.start()
    begun.wait()
    copies: list[Any] = []
    while any(thread.is_alive() for thread in threads) and len(copies) < 5:
        copies.append(tmp_path / f"copy{len(copies)}.db")
        assert back_up(address(engine), copies[-1]).n_bytes > 0
    for thread in threads:
        thread.join()
    counts = []
    for copy in copies:
        again = restored(engine, copy, postgres)
        with again.begin() as connection:
            n_ratings = connection.execute(select(func.count()).select_from(ratings)).scalar_one()
            n_rated = connection.execute(select(func.count()).where(slots.c.state == "rated")).scalar_one()
        assert n_ratings == n_rated  # a vote and its slot's state are one transaction
        assert study_results(again, find_study(again, created.study.name)).n_rated == n_ratings
        counts.append(n_ratings)
        url = address(again)
        again.dispose()
        if postgres is not None:
            postgres.drop(url)
    assert counts == sorted(counts)
    assert 0 < counts[0] < 180


def test_a_backup_never_overwrites(sqlite: Engine, tmp_path: Path) -> None:
    (tmp_path / "there.db").touch()
    with pytest.raises(InputError, match="new file"):
        back_up(address(sqlite), tmp_path / "there.db")
    with pytest.raises(InputError, match="none yet"):
        back_up(f"sqlite:///{tmp_path / 'nowhere.db'}", tmp_path / "copy.db")


def test_a_database_that_cannot_be_dumped_is_one_sentence_without_its_password(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://{postgres.owner}:hunter2-hunter2@/nowhere?host={postgres.folder}"
    if shutil.which("pg_dump") is not None:
        with pytest.raises(UnavailableError, match="can read") as caught:
            back_up(url, tmp_path / "copy.dump")
        assert "hunter2" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="needs `pg_dump`"):
        back_up(url, tmp_path / "copy.dump")


def test_the_tables_are_those_that_the_migrations_make(engine: Engine) -> None:
    """What the code reads by and what the migrations made agree column by column."""
    found = inspect(engine)
    for name, table in metadata.tables.items():
        columns = {c["name"]: c["nullable"] for c in found.get_columns(name)}
        assert columns == {c.name: bool(c.nullable) for c in table.columns}


def test_a_store_of_the_first_schema_keeps_every_row(tmp_path: Path) -> None:
    """A store written when ratings were new, as SQL: opened today it holds the same rows and says the same."""
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as connection:
        connection.executescript(FIRST.read_text(encoding="utf-8"))
        before = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in metadata.tables}
    connection.close()
    engine = open_database(f"sqlite:///{old}")
    with engine.begin() as now:
        after = {
            name: now.execute(select(func.count()).select_from(t)).scalar_one() for name, t in metadata.tables.items()
        }
    assert after == before
    assert before["ratings"] == 21
    found = study_results(engine, find_study(engine, "first"))
    assert (found.n_rated, found.n_skipped, found.n_rehearsal) == (11, 1, 4)
    assert found.pairs[0].look.estimate.n == 4
    assert not close_study(engine, "first").is_open  # it can still be written to
    engine.dispose()


def test_a_store_from_before_ratings_gains_them_and_loses_nothing(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    with writing(engine) as connection:
        for name in ["local_answers", *reversed([t.name for t in metadata.sorted_tables])]:
            connection.execute(text(f"DROP TABLE {name}"))
        connection.execute(text("CREATE TABLE somebody_elses (x INTEGER)"))
        connection.execute(text("INSERT INTO somebody_elses VALUES (1), (2)"))
        connection.execute(text("UPDATE screentest_version SET version_num = '0002'"))
    migrate(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM somebody_elses")).scalar_one() == 2
    assert a_study(engine).study.is_open
    engine.dispose()
