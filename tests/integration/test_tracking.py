from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.settings import Settings
from harness.store.tracking import DATA_EXPERIMENT, Stage, StageResult, Tracking


def write_answer(stage: Stage) -> None:
    (stage.folder / "answer.txt").write_text("42")
    stage.log_metric("loss", 1.5, step=3)


def run(tracking: Tracking, **changes: Any) -> StageResult:
    arguments: dict[str, Any] = {
        "revision": 1,
        "config": {"a": {"b": 1}},
        "inputs": {"data": "d1"},
        "work": write_answer,
    } | changes
    return tracking.stage(str(arguments.pop("name", "toy")), **arguments)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    home = tmp_path_factory.mktemp("home")
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))


def test_a_stage_runs_once_and_is_reused_with_a_trace(tracking: Tracking) -> None:
    first = run(tracking, config={"case": "reuse"})
    again = run(tracking, config={"case": "reuse"}, work=lambda stage: pytest.fail("ran again"))
    assert (first.reused, again.reused) == (False, True)
    assert again.digest == first.digest
    assert (again.folder / "answer.txt").read_text() == "42"
    assert again.run_id == first.run_id  # no run of its own


@pytest.mark.parametrize("change", [{"revision": 2}, {"config": {"a": 2}}, {"inputs": {"data": "d2"}}, {"force": True}])
def test_whatever_decides_the_result_runs_it_again(tracking: Tracking, change: dict[str, object]) -> None:
    run(tracking)
    assert not run(tracking, **change).reused


def test_a_failed_stage_keeps_its_work_and_resumes_in_the_same_run(tracking: Tracking) -> None:
    def fail(stage: Stage) -> None:
        (stage.folder / "half.txt").write_text("half")
        raise InputError("no")

    def resume(stage: Stage) -> None:
        assert (stage.folder / "half.txt").read_text() == "half"
        write_answer(stage)

    with pytest.raises(InputError):
        run(tracking, config={"case": "resume"}, work=fail)
    failed = tracking.find(stage="toy", status="FAILED")[0]
    result = run(tracking, config={"case": "resume"}, work=resume)
    assert result.run_id == failed.run_id
    assert tracking.run(result.run_id).status == "FINISHED"


def test_names_that_mlflow_refuses_are_written_plainly(tracking: Tracking) -> None:
    def work(stage: Stage) -> None:
        write_answer(stage)
        stage.log_params({"repaired.lines with <u>, <b> or <i> tags": 3})

    result = run(tracking, config={"case": "names"}, work=work)
    params = tracking.client.get_run(result.run_id).data.params
    assert params["repaired.lines with _u__ _b_ or _i_ tags"] == "3"


PROJECT_TAGS = {"mlflow.source.type": "PROJECT", "mlflow.project.entryPoint": "sft"}


def inherit(tracking: Tracking, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]) -> str:
    run_id = str(tracking.client.create_run(tracking.experiment_id(), tags=tags).info.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


def test_a_run_that_this_project_was_started_with_is_adopted_once(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited = inherit(tracking, monkeypatch, PROJECT_TAGS)
    assert run(tracking, config={"case": "adopt"}, adopt=True).run_id == inherited
    assert run(tracking, config={"case": "adopt 2"}, adopt=True).run_id != inherited


@pytest.mark.parametrize("whose", ["script", "other entry", "other project", "no project", "ended", "other store"])
def test_somebody_elses_run_is_left_alone(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whose: str
) -> None:
    """A notebook's open run, or that of a project which calls us as a step, stays what it was."""
    tags = {"script": {}, "other entry": {**PROJECT_TAGS, "mlflow.project.entryPoint": "etl"}}.get(whose, PROJECT_TAGS)
    inherited = inherit(tracking, monkeypatch, tags)
    if whose == "other store":
        monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    if whose == "ended":
        tracking.client.set_terminated(inherited)
    if whose in ("other project", "no project"):
        monkeypatch.chdir(tmp_path)
    if whose == "other project":
        (tmp_path / "MLproject").write_text("name: theirs\nentry_points: {sft: {command: screentest sft x}}\n")
    with tracking.command("evaluate") as command:
        assert command.run_id != inherited
    assert "stage" not in tracking.run(inherited).tags


def test_children_nest_under_their_command(tracking: Tracking) -> None:
    with tracking.command("evaluate") as parent:
        run(tracking, config={"case": "child"}, parent=parent.run_id, label="Answer (sft)")
    (child,) = tracking.children(parent.run_id)
    assert (child.name, child.stage) == ("answer sft", "toy")
    assert tracking.run(parent.run_id).status == "FINISHED"
    (used,) = tracking.client.get_run(child.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("data", "d1")
    with tracking.command("evaluate") as later:
        run(tracking, config={"case": "child"}, parent=later.run_id, label="Answer (sft)")
    assert tracking.children(later.run_id) == [child]  # by a tag; no run of its own
    assert f"[answer sft](#/experiments/{child.experiment_id}/runs/{child.run_id})" in _description(tracking, later)


def test_data_stand_apart_from_evaluations_and_those_that_did_not_are_found(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:  # versions that had one experiment for all
        earlier.setattr("harness.store.tracking.DATA_STAGES", ())
        old = run(tracking, name="prepare", config={"case": "old"})
    with tracking.command("evaluate") as command:
        assert run(tracking, name="prepare", config={"case": "old"}, parent=command.run_id).run_id == old.run_id
        made = run(tracking, name="pairs", config={"case": "new"}, parent=command.run_id, label="Pairs")
    info = tracking.run(made.run_id)
    assert tracking.client.get_experiment(info.experiment_id).name == DATA_EXPERIMENT
    assert {each.run_id for each in tracking.children(command.run_id)} == {old.run_id, made.run_id}
    told = _description(tracking, command)
    assert told.startswith(f"Data made for it:\n\n- [pairs](#/experiments/{info.experiment_id}/runs/{made.run_id})")
    assert "Reused, not run again:" in told


def _description(tracking: Tracking, command: Stage) -> str:
    return tracking.run(command.run_id).tags["mlflow.note.content"]


def test_an_unknown_run_is_one_sentence(tracking: Tracking) -> None:
    with pytest.raises(InputError, match="must be the id of a run"):
        tracking.run("0" * 32)


def test_a_killed_stage_resumes_in_the_same_run(tracking: Tracking) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from harness.store.tracking import Tracking

        def work(stage):
            if not (stage.folder / "half.txt").exists():
                (stage.folder / "half.txt").write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)

        result = Tracking().stage("killed", revision=1, config={}, inputs={}, work=work)
        print(result.run_id, result.reused)
        """
    )
    environment = os.environ | {"SCREENTEST_HOME": str(tracking.settings.home)}
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    left = tracking.find(stage="killed", status="RUNNING")[0]
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert second.stdout.split() == [left.run_id, "False"]
