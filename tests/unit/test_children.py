"""Processes that we start: whose code they run, and that they end with the one that started them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from harness.child_processes import child_command, root

ANSWER = "import sys; print(sys.argv[1:], sys.path.count(''))\nimport pipelines, harness; print(pipelines.__file__)\n"
STUBBORN = "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\nprint('up', flush=True)\n"
STUBBORN += "time.sleep(300)\n"
# A job in the background of a shell ignores SIGINT, and what it starts inherits that.
PARENT = "import signal, subprocess, sys, time\nsignal.signal(2, signal.default_int_handler)\n"
PARENT += "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
PARENT += "print(child.pid, flush=True)\nwhile True: time.sleep(1)\n"


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}


def hostile(folder: Path) -> Path:
    """A folder with packages of our names, which must not be imported."""
    for name in ("pipelines", "harness", "mlflow", "uvicorn", "streamlit"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('the package in the current folder')")
    return folder


def test_the_current_folder_does_not_shadow_our_packages(tmp_path: Path) -> None:
    (tmp_path / "answer_module.py").write_text(ANSWER)
    command = child_command("answer_module", "one", "two words")
    said = subprocess.run(
        command, cwd=hostile(tmp_path / "work"), env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert said.stdout.splitlines() == ["['one', 'two words'] 0", f"{root()}/pipelines/__init__.py"], said.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of stdin tells")
@pytest.mark.parametrize(
    ("number", "to_group"),
    [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGKILL, True), (signal.SIGKILL, False),
     (signal.SIGINT, True)],
)  # fmt: skip
def test_a_child_ends_with_its_parent(tmp_path: Path, number: signal.Signals, to_group: bool) -> None:
    """One that ignores signals and never reads its stdin, in the group of its parent."""
    (tmp_path / "stubborn_module.py").write_text(STUBBORN)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *child_command("stubborn_module")],
        env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    with parent.stdout as said:
        heard = {said.readline().strip(), said.readline().strip()}
        assert "up" in heard
        child = psutil.Process(int((heard - {"up"}).pop()))
        (os.killpg if to_group else os.kill)(parent.pid, number)
        parent.wait()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
