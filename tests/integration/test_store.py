"""MLflow's store through its one door: odd homes, hostile files, dead servers, first starts, moved homes, many runs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stories import environment, fresh_home
from waiting import wait_until

from harness.errors import StageError, UnavailableError
from harness.settings import Settings
from harness.store.tracking import Stage, StageResult, Tracking

ODD = ["per%cent", "per%20cent", "ques?tion", "ha#sh é", "quo'te\"[x]"]


def at(home: Path, **variables: str) -> Tracking:
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home), **variables}))


def run(tracking: Tracking, **changes: object) -> StageResult:
    def work(stage: Stage) -> None:
        (stage.folder / "answer.txt").write_text("42")

    return tracking.stage("toy", **{"revision": 1, "config": {}, "inputs": {}, "work": work, **changes})  # type: ignore[arg-type]


def execute(home: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as store, store:
        for statement in statements:
            store.execute(statement)


@pytest.mark.parametrize("name", ODD)
def test_a_home_of_any_name_holds_all_that_is_written(tmp_path: Path, name: str) -> None:
    home = fresh_home(tmp_path / name)
    assert not run(at(home)).reused
    found = run(at(home))
    assert (found.reused, (found.folder / "answer.txt").read_text()) == (True, "42")
    assert found.folder.is_relative_to(home)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["moved", *ODD])
@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_home_that_was_moved_or_copied_is_whole_and_writes_into_itself(tmp_path: Path, name: str, move: Any) -> None:
    old, new = fresh_home(tmp_path / "old"), tmp_path / name
    adopted = fresh_run_of_mlflow(at(old), old)
    first = run(at(old))
    before = sorted(p for p in old.rglob("*") if p.is_file())
    move(old, new)
    tracking = at(new)
    again, fresh = run(tracking), run(tracking, config={"more": 1})
    assert (again.reused, again.source_run_id) == (True, first.run_id)
    for folder in (again.folder, fresh.folder, tracking.folder(adopted)):
        assert folder.is_dir()
        assert folder.is_relative_to(new)
    assert sorted(p for p in old.rglob("*") if p.is_file()) == ([] if move is shutil.move else before)


def fresh_run_of_mlflow(tracking: Tracking, home: Path) -> str:
    """A run in MLflow's own experiment, which `mlflow run` places in `mlruns/0` as a plain path."""
    execute(home, f"UPDATE experiments SET artifact_location = '{home}/0' WHERE experiment_id = 0")
    run_id = str(tracking.client.create_run("0").info.run_id)
    tracking.client.log_dict(run_id, {}, "x.json")
    assert (home / "0" / run_id).is_dir()
    return run_id


def test_a_home_that_is_reached_by_a_link_keeps_its_addresses(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "home")
    first = run(at(home))
    (tmp_path / "link").symlink_to(home)
    again = run(at(tmp_path / "link"))
    assert (again.reused, again.folder) == (True, first.folder)


def test_a_folder_that_somebody_chose_stays_where_it_is(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "home")
    chosen = tmp_path / "artifacts" / "mine"
    chosen.mkdir(parents=True)
    client = at(home).client
    client.create_experiment("mine", artifact_location=chosen.as_uri())
    client.create_experiment("bucket", artifact_location="s3://x/artifacts/bucket")
    locations = {e.name: e.artifact_location for e in at(home).client.search_experiments()}
    assert (locations["mine"], locations["bucket"]) == (chosen.as_uri(), "s3://x/artifacts/bucket")


def test_a_finished_stage_is_reused_however_often_it_was(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "home")
    first = run(at(home))
    known = {"stage": "toy", "fingerprint": first.fingerprint}
    light = at(home).create("toy", tags={**known, "reused_from": first.run_id})  # as earlier versions made them
    at(home).client.set_terminated(light)
    columns = (
        "name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, "
    )
    columns += "lifecycle_stage, artifact_uri, experiment_id, deleted_time"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
    execute(
        home,
        f"{numbers} INSERT INTO runs (run_uuid, {columns}) SELECT run_uuid || i, {columns} FROM runs, n "
        f"WHERE run_uuid = '{light}'",
        f"{numbers} INSERT INTO tags (key, value, run_uuid) SELECT key, value, run_uuid || i FROM tags, n "
        f"WHERE run_uuid = '{light}'",
        "UPDATE runs SET start_time = start_time + 1000000 WHERE length(run_uuid) > 32",
    )
    tracking = at(home)
    began = time.perf_counter()
    assert len(tracking.find(stage="toy", limit=None)) == 2002
    listed = time.perf_counter()
    again = run(tracking, work=lambda stage: pytest.fail("ran again"))
    assert again.source_run_id == first.run_id
    assert time.perf_counter() - listed < listed - began  # found, not looked for one by one


@pytest.mark.parametrize("damage", ["altered", "gone", "record"])
def test_a_stage_whose_files_are_not_what_they_were_runs_again_and_says_why(tmp_path: Path, damage: str) -> None:
    home, said = fresh_home(tmp_path / "home"), list[str]()
    first = run(at(home))
    file = first.folder / ("stage.json" if damage == "record" else "answer.txt")
    file.unlink() if damage == "gone" else file.write_text("43")
    again = run(at(home), on_change=said.append)
    assert (again.reused, (again.folder / "answer.txt").read_text()) == (False, "42")
    assert len(said) == 1
    assert said[0].endswith(f" in run {first.run_id[:8]}")
    assert run(at(home), on_change=said.append).source_run_id == again.run_id
    assert len(said) == 1


def test_a_deleted_experiment_is_named_with_the_way_back(tmp_path: Path) -> None:
    tracking = at(fresh_home(tmp_path / "home"))
    tracking.client.delete_experiment(tracking.experiment_id())
    with pytest.raises(UnavailableError, match=r"was deleted; bring it back with .*mlflow experiments restore"):
        run(tracking)


def test_an_experiment_that_another_process_made_meanwhile_is_taken(tmp_path: Path) -> None:
    tracking = at(fresh_home(tmp_path / "home"))
    made = tracking.experiment_id("race")
    looked = tracking.client.get_experiment_by_name
    late = [None]  # what the loser of the race saw before it tried
    tracking.client.get_experiment_by_name = lambda name: late.pop() if late else looked(name)
    assert tracking.experiment_id("race") == made


HOSTILE: dict[str, Callable[[Path], object]] = {
    "another program's": lambda file: execute(file.parent, "CREATE TABLE users (id INTEGER)"),
    "no database": lambda file: file.write_bytes(b"hello " * 1000),
    "a folder": Path.mkdir,
}
SCHEMAS = {"a newer schema": "ffffffffffff", "an older schema": "e1f2a3b4c5d6"}


@pytest.mark.parametrize("kind", [*HOSTILE, *SCHEMAS])
def test_a_file_that_is_no_store_is_refused_at_once_and_left_as_it_was(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    if kind in HOSTILE:
        home.mkdir()
        HOSTILE[kind](home / "mlflow.db")
    else:
        execute(fresh_home(home), f"UPDATE alembic_version SET version_num = '{SCHEMAS[kind]}'")
    before = (home / "mlflow.db").read_bytes() if (home / "mlflow.db").is_file() else None
    refused(at(home))
    assert before is None or (home / "mlflow.db").read_bytes() == before


def test_a_run_that_was_ended_inside_its_stage_by_a_library_is_gone_on_with(tmp_path: Path) -> None:
    """MLflow ends a run once a model has been logged to it; killed then, it stands finished without a result."""
    tracking, begun = at(tmp_path / "home"), []

    def killed(stage: Stage) -> None:
        begun.append(stage.run_id)
        raise StageError("killed")

    with pytest.raises(StageError):
        run(tracking, work=killed)
    tracking.client.update_run(begun[0], status="FINISHED")
    again = run(tracking)
    assert (again.run_id, again.reused) == (begun[0], False)
    assert [info.run_id for info in tracking.originals(stage="toy")] == begun


def refused(tracking: Tracking) -> str:
    with pytest.raises(UnavailableError, match="must be a reachable MLflow store") as caught:
        _ = tracking.client
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "address",
    ["http://{silent}", "http://127.0.0.1:9", "postgresql+psycopg://u:hunter2@{silent}/x", "mysql://u:hunter2@h/x",
     "postgresql+psycopg://u:hunter2@127.0.0.1:9/x", "http://nowhere.invalid", "nonsense://x", "./folder"],
)  # fmt: skip
def test_a_server_that_is_none_is_one_sentence_within_seconds(tmp_path: Path, silent: str, address: str) -> None:
    said = refused(at(tmp_path / "home", MLFLOW_TRACKING_URI=address.format(silent=silent)))
    assert "hunter2" not in said


FIRST = "import os, sys, time, mlflow; from harness.store.tracking import Tracking\n"
FIRST += "open(sys.argv[1] + str(os.getpid()), 'w').close()\n"
FIRST += "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
FIRST += "with Tracking().command('x'): print('ok')"


def at_once(folder: Path, *, n: int, **variables: str) -> list[str]:
    """What n processes say that all open a store for the first time at the same moment."""
    gate, ready = folder / "gate", folder / "ready"
    ready.mkdir()
    command = [sys.executable, "-c", FIRST, f"{ready}/", str(gate)]
    own = environment(folder / "home", variables)
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, env=own, **kept) for _ in range(n)]  # type: ignore[call-overload]
    wait_until(lambda: len(list(ready.iterdir())) == n)
    gate.touch()
    return [process.communicate()[0].strip() for process in processes]


def test_three_first_starts_at_once_all_succeed(tmp_path: Path) -> None:
    assert at_once(tmp_path, n=3) == ["ok"] * 3
    assert sorted(p.name for p in (tmp_path / "home").glob("mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.slow
def test_three_first_starts_at_once_on_postgresql_beside_our_own_tables(tmp_path: Path) -> None:
    from postgres import running

    from harness.store.database import open_database

    with running() as server:
        url = server.fresh()
        open_database(url).dispose()
        assert at_once(tmp_path, n=3, MLFLOW_TRACKING_URI=url, SCREENTEST_DATABASE_URL=url) == ["ok"] * 3
        open_database(url).dispose()


def test_a_kill_while_the_store_is_made_leaves_no_half_of_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mlflow.db.part").write_bytes(b"half of it")
    assert at(home).find(status=None) == []
    assert not (home / "mlflow.db.part").exists()
